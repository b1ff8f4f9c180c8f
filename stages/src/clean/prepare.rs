use serde_json::{Map, Value, json};

use super::{
    params::{CleanParams, Dedup, DedupOn, Pii},
    pii::{Findings, Scrubber},
    problem::{Problem, Reason},
    read::RawRow,
    shape::shape_row,
    text::{Changes, TextCleaner},
};
use crate::{
    records::{Message, REJECTED, Record, TEXT, is_text, said},
    similarity::{Banding, Fingerprint, Shingles},
};

/// All that is done with a row by itself; rows are prepared side by side.
pub(super) struct Preparation {
    params: CleanParams,
    text: TextCleaner,
    scrubber: Option<Scrubber>,
    banding: Option<Banding>,
}

/// A row, ready to be compared with the rows before it.
pub(super) struct Prepared {
    pub file: usize,
    pub line: u64,
    pub row: u64,
    pub outcome: Outcome,
    pub shape: Option<&'static str>,
    pub changes: Changes,
    pub findings: Findings,
}

/// What became of a row.
pub(super) enum Outcome {
    Good(Box<Candidate>),
    /// With what there was of it, or the beginning of its text.
    Bad(Problem, Option<Box<Candidate>>, String),
}

/// A good row.
pub(super) struct Candidate {
    pub id: Option<String>,
    pub messages: Vec<Message>,
    /// A worse answer than the last turn.
    pub rejected: Option<String>,
    /// Whether the last turn is an answer to be given or avoided.
    pub desirable: Option<bool>,
    pub meta: Map<String, Value>,
    /// Of what exact duplicates share.
    pub digest: u128,
    pub fingerprint: Option<Fingerprint>,
    /// Whether it got the system prompt of the parameters.
    pub system_added: bool,
}

impl Candidate {
    /// Who says what, without a system prompt of the parameters.
    pub(super) fn said(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        said(&self.messages[usize::from(self.system_added)..], self.rejected.as_deref())
    }

    /// Every text, with who says it.
    fn texts_mut(&mut self) -> impl Iterator<Item = (&str, &mut String)> {
        let turns = self.messages.iter_mut().map(|message| (message.role.as_str(), &mut message.content));
        turns.chain(self.rejected.as_mut().map(|answer| (REJECTED, answer)))
    }
}

impl Preparation {
    /// `banding` is given when fingerprints are needed.
    pub(super) fn new(params: &CleanParams, banding: Option<Banding>) -> Self {
        Self {
            text: TextCleaner::new(params),
            scrubber: (params.pii != Pii::Keep).then(|| Scrubber::new(params)),
            banding,
            params: params.clone(),
        }
    }

    pub(super) fn prepare(&self, raw: RawRow) -> Prepared {
        let RawRow { file, line, row, body } = raw;
        let mut prepared = Prepared {
            file,
            line,
            row,
            outcome: Outcome::Bad(Problem::new(Reason::InvalidJson, ""), None, String::new()),
            shape: None,
            changes: Changes::default(),
            findings: Findings::default(),
        };
        // The text of a broken row goes to `rejected`: what must not be kept is taken out there, too.
        let mut shown = body.shown();
        if let Some(scrubber) = &self.scrubber {
            scrubber.scrub(&mut shown, &mut Findings::default());
        }
        let draft = body.columns().and_then(|columns| shape_row(columns, self.params.format, &self.params.columns));
        prepared.outcome = match draft {
            Err(problem) => Outcome::Bad(problem, None, shown),
            Ok(draft) => {
                prepared.shape = Some(draft.shape);
                let mut candidate = Candidate {
                    id: draft.id,
                    messages: draft.messages,
                    rejected: draft.rejected,
                    desirable: draft.desirable,
                    meta: draft.meta,
                    digest: 0,
                    fingerprint: None,
                    system_added: false,
                };
                match self.refine(&mut candidate, &mut prepared.changes, &mut prepared.findings) {
                    Ok(()) => Outcome::Good(Box::new(candidate)),
                    Err(problem) => Outcome::Bad(problem, Some(Box::new(candidate)), shown),
                }
            }
        };
        prepared
    }

    fn refine(&self, row: &mut Candidate, changes: &mut Changes, findings: &mut Findings) -> Result<(), Problem> {
        let mut unsettled = false;
        for (_, content) in row.texts_mut() {
            match self.text.clean(std::mem::take(content), changes) {
                Some(text) => *content = text,
                None => unsettled = true,
            }
        }
        if let Some(scrubber) = &self.scrubber {
            for (_, content) in row.texts_mut() {
                scrubber.scrub(content, findings);
            }
            scrubber.scrub_columns(&mut row.meta, findings);
        }
        if unsettled {
            return Err(Problem::new(Reason::NestedMarkup, "the markup is nested too deep to be resolved"));
        }
        // Cleaning may leave nothing of a system prompt.
        row.messages.retain(|message| message.role != "system" || !message.content.is_empty());
        for (role, _) in row.said().filter(|(_, content)| content.trim().is_empty()) {
            match role {
                "assistant" => return Err(Problem::new(Reason::EmptyAnswer, "the answer is empty")),
                REJECTED => return Err(Problem::new(Reason::EmptyAnswer, "the rejected answer is empty")),
                TEXT => return Err(Problem::new(Reason::EmptyAnswer, "the text is empty")),
                "user" => return Err(Problem::new(Reason::EmptyPrompt, "the prompt is empty")),
                _ => {}
            }
        }
        if row.messages.last().map(|last| &last.content) == row.rejected.as_ref() {
            return Err(Problem::new(Reason::SameAnswers, "the chosen and the rejected answer are the same"));
        }
        if let Some(system) = &self.params.system
            && row.messages.first().is_some_and(|first| first.role != "system" && first.role != TEXT)
        {
            row.messages.insert(0, Message::new("system", system.clone()));
            row.system_added = true;
        }
        self.check_lengths(row)?;
        if self.params.pii == Pii::Drop && findings.iter().any(|count| *count > 0) {
            return Err(Problem::new(Reason::PersonalData, "the row holds personal data"));
        }
        self.mark(row);
        Ok(())
    }

    fn check_lengths(&self, row: &Candidate) -> Result<(), Problem> {
        let p = &self.params;
        let messages = &row.messages;
        for (role, name, least, most, short, long) in [
            ("user", "prompt", p.min_prompt_chars, p.max_prompt_chars, Reason::ShortPrompt, Reason::LongPrompt),
            (
                "assistant",
                "response",
                p.min_response_chars,
                p.max_response_chars,
                Reason::ShortResponse,
                Reason::LongResponse,
            ),
        ] {
            if (least.is_none() && most.is_none()) || (role == "user" && is_text(messages)) {
                continue;
            }
            let chars = length(messages, role);
            // With the other answer of a pair in place of the last turn.
            let other = row.rejected.as_ref().filter(|_| role == "assistant").map(|rejected| {
                chars - length(&messages[messages.len() - 1..], role) + rejected.chars().count() as u64
            });
            for chars in std::iter::once(chars).chain(other) {
                if let Some(least) = least.filter(|least| chars < *least) {
                    return Err(Problem::new(short, format!("the {name} has {chars} characters, fewer than {least}")));
                }
                if let Some(most) = most.filter(|most| chars > *most) {
                    return Err(Problem::new(long, format!("the {name} has {chars} characters, more than {most}")));
                }
            }
        }
        Ok(())
    }

    /// Computes what duplicates are found by.
    fn mark(&self, row: &mut Candidate) {
        let p = &self.params;
        if p.dedup == Dedup::None {
            return;
        }
        let said = said(&row.messages, row.rejected.as_deref());
        let compared = |(role, _): &(&str, &str)| p.dedup_on == DedupOn::Conversation || asks(role) || *role == TEXT;
        let digest = digest(said.clone().filter(compared));
        let fingerprint = self.banding.map(|banding| Fingerprint::of(&sides(said, p.dedup_on), banding));
        (row.digest, row.fingerprint) = (digest, fingerprint);
    }
}

/// Characters of all turns of a role. A text by itself is all answer.
pub(super) fn length(messages: &[Message], role: &str) -> u64 {
    let of_role = |message: &&Message| message.role == role || (role == "assistant" && message.role == TEXT);
    messages.iter().filter(of_role).map(|message| message.content.chars().count() as u64).sum()
}

fn asks(role: &str) -> bool {
    matches!(role, "user" | "tool")
}

/// The texts of which each must be alike in near-duplicates. A long system prompt that all rows share would make
/// everything alike, so it is none of them.
pub(super) fn sides<'a>(said: impl Iterator<Item = (&'a str, &'a str)> + Clone, on: DedupOn) -> Vec<Shingles> {
    let join = |wanted: fn(&str) -> bool| {
        let texts: Vec<&str> = said.clone().filter(|(role, _)| wanted(role)).map(|(_, content)| content).collect();
        Shingles::of(&texts.join("\n"))
    };
    match on {
        DedupOn::Prompt => vec![join(|role| asks(role) || role == TEXT)],
        DedupOn::Conversation => vec![join(asks), join(|role| matches!(role, "assistant" | REJECTED | TEXT))],
    }
}

/// A digest of who says what.
pub(super) fn digest<'a>(said: impl Iterator<Item = (&'a str, &'a str)>) -> u128 {
    let mut hasher = blake3::Hasher::new_derive_key("refit clean 1 conversation");
    for (role, content) in said {
        for text in [role, content] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_be_bytes(bytes)
}

/// The row as it goes to `rejected`: a record whose `meta` says why, where, and what could be read.
pub(super) fn rejected(
    problem: &Problem,
    place: (&str, u64),
    id: String,
    row: Option<Candidate>,
    raw: String,
) -> Record {
    let mut meta = Map::new();
    meta.insert("reason".into(), problem.reason.name().into());
    meta.insert("detail".into(), problem.detail.clone().into());
    meta.insert("file".into(), place.0.into());
    meta.insert("line".into(), json!(place.1));
    let Some(row) = row else {
        meta.insert("raw".into(), raw.into());
        return Record { id, messages: Vec::new(), rejected: None, desirable: None, meta };
    };
    if !row.meta.is_empty() {
        meta.insert("columns".into(), Value::Object(row.meta));
    }
    Record { id, messages: row.messages, rejected: row.rejected, desirable: row.desirable, meta }
}
