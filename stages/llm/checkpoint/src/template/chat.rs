use std::{collections::BTreeMap, sync::Arc};

use minijinja::{Environment, Value, context, syntax::SyntaxConfig};
use serde::Serialize;

use super::functions;
use crate::CheckpointError;

/// One turn of a conversation, borrowed from wherever it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Message<'a> {
    /// Who speaks: `system`, `user`, `assistant` or `tool`.
    pub role: &'a str,
    /// What is said.
    pub content: &'a str,
}

impl<'a> Message<'a> {
    /// One turn.
    pub fn new(role: &'a str, content: &'a str) -> Self {
        Self { role, content }
    }

    /// Whether the model says this.
    pub fn is_assistant(&self) -> bool {
        self.role == "assistant"
    }
}

/// A chat template, compiled. Safe to share between threads.
#[derive(Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    text: String,
    specials: Specials,
    digest: String,
}

/// Texts of special tokens by variable name: `bos_token`, `eos_token` …
pub(crate) type Specials = BTreeMap<&'static str, String>;

const NAME: &str = "chat template";

/// The layout most small models are tuned on; what transformers used before models brought their own.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// What is said, one after the other, and nothing between.
const PLAIN: &str = "{% for message in messages %}{{ message['content'] }}{% endfor %}";

impl ChatTemplate {
    /// Compiles a template.
    pub(crate) fn new(text: impl Into<String>, specials: Specials) -> Result<Self, CheckpointError> {
        let text = text.into();
        let mut environment = Environment::new();
        let whitespace = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(whitespace.map_err(|cause| failed(&cause))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        functions::register(&mut environment);
        environment.add_template_owned(NAME, functions::without_generation_tags(&text)).map_err(|cause| {
            let line = cause.line().map(|line| format!(" in line {line}")).unwrap_or_default();
            CheckpointError::new("template::malformed", format!("the chat template is not valid Jinja{line}"))
                .with_help(
                    "give another one with the parameter `template`: `chatml`, `plain`, or the Jinja text itself",
                )
                .caused_by(cause)
        })?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(text.as_bytes());
        for (name, token) in &specials {
            hasher.update(format!("\0{name}={token}").as_bytes());
        }
        let digest = format!("b3:{}", hasher.finalize().to_hex());
        Ok(Self { environment: Arc::new(environment), text, specials, digest })
    }

    /// A built-in template, `chatml` or `plain`, or the text of a Jinja template.
    pub(crate) fn named(wanted: &str, specials: Specials) -> Result<Self, CheckpointError> {
        match wanted {
            "chatml" => Self::new(CHATML, specials),
            "plain" => Self::new(PLAIN, specials),
            text if text.contains("{{") || text.contains("{%") => Self::new(text, specials),
            other => Err(CheckpointError::new("template::unknown", format!("`{other}` is no chat template"))
                .with_help(
                    "give `chatml`, `plain`, or the text of a Jinja template (it holds `{{ … }}` or `{% … %}`)",
                )),
        }
    }

    /// The text of a conversation; with `add_generation_prompt` it ends where the model is to speak.
    ///
    /// # Errors
    /// What the template raises, such as roles that do not alternate.
    pub fn render(&self, messages: &[Message<'_>], add_generation_prompt: bool) -> Result<String, CheckpointError> {
        let template = self.environment.get_template(NAME).map_err(|cause| failed(&cause))?;
        // As transformers passes them: tools and documents are there, but none.
        let variables = context! {
            messages => messages
                .iter()
                .map(|message| Value::from_pairs([("role", message.role), ("content", message.content)]))
                .collect::<Value>(),
            add_generation_prompt,
            tools => (),
            documents => (),
            ..Value::from_pairs(self.specials.iter().map(|(name, token)| (*name, token.as_str())))
        };
        template.render(variables).map_err(|cause| failed(&cause))
    }

    /// The Jinja text, as the model brings it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Identifies the template with the special tokens filled into it.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("text", &self.text)
            .field("specials", &self.specials)
            .finish_non_exhaustive()
    }
}

fn failed(cause: &minijinja::Error) -> CheckpointError {
    if let Some(raised) = functions::raised(cause) {
        return CheckpointError::new(
            "template::raised",
            format!("the chat template refuses this conversation: {raised}"),
        )
        .with_help("bring the messages into the order the template asks for, or give another one with `template`");
    }
    let line = cause.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    CheckpointError::new("template::failed", format!("the chat template failed{line}: {cause}"))
        .with_help("give another template with the parameter `template`: `chatml`, `plain`, or the Jinja text itself")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn template(text: &str) -> ChatTemplate {
        ChatTemplate::new(text, BTreeMap::from([("bos_token", "<s>".to_owned()), ("eos_token", "</s>".to_owned())]))
            .unwrap()
    }

    const TALK: [Message<'static>; 2] =
        [Message { role: "user", content: " hi " }, Message { role: "assistant", content: "you <b>" }];

    #[test]
    fn python_idioms_work() {
        let cases = [
            ("{{ bos_token }}{{ messages[0]['content'].strip() }}{{ eos_token }}", "<s>hi</s>"),
            ("{{ messages[1:][0].content | trim | upper }}", "YOU <B>"),
            ("{{ messages[1] | tojson }}", r#"{"role": "assistant", "content": "you <b>"}"#),
            (
                "{{ {'b': 1, 'a': [true, none]} | tojson(indent=2) }}",
                "{\n  \"b\": 1,\n  \"a\": [\n    true,\n    null\n  ]\n}",
            ),
            (
                "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
                "2",
            ),
            (
                "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}",
                "assistant",
            ),
            ("{% if tools %}no{% endif %}{{ tools is none }}", "True"),
            ("{% if messages[0].content.startswith(' h') and 'z' not in messages[0].content %}y{% endif %}", "y"),
            ("{% for m in messages %}\n    {% if true %}\nx\n    {% endif %}\n{% endfor %}", "x\nx\n"),
            ("{% for m in messages %}{% generation %}{{ m.role[0] }}{% endgeneration %}{% endfor %}", "ua"),
            ("a {%- generation -%} b {%- endgeneration %} c", "ab c"),
            ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
            ("{{ messages[1].content.split('<')[0].rstrip() }}|{{ missing is defined }}{{ missing }}", "you|False"),
        ];
        for (text, expected) in cases {
            assert_eq!(template(text).render(&TALK, false).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_a_template_raises_is_told() {
        let error = template("{{ raise_exception('Roles must alternate') }}").render(&TALK, false).unwrap_err();
        assert_eq!(error.code(), "template::raised");
        assert!(error.message().ends_with("Roles must alternate"), "{}", error.message());
    }

    #[test]
    fn a_broken_template_names_its_line() {
        let error = ChatTemplate::new("a\n{% if %}", Specials::new()).unwrap_err();
        assert_eq!(error.message(), "the chat template is not valid Jinja in line 2");
    }

    #[test]
    fn chatml_is_built_in() {
        let text = ChatTemplate::named("chatml", Specials::new()).unwrap().render(&TALK[..1], true).unwrap();
        assert_eq!(text, "<|im_start|>user\n hi <|im_end|>\n<|im_start|>assistant\n");
        assert!(ChatTemplate::named("chatty", Specials::new()).is_err());
    }

    #[test]
    fn the_digest_covers_text_and_tokens() {
        let a = template("x");
        let b = ChatTemplate::new("x", Specials::new()).unwrap();
        assert_ne!(a.digest(), b.digest());
        assert_eq!(a.digest(), template("x").digest());
    }
}
