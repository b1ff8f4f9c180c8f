use std::{
    io::Read as _,
    ops::Range,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use super::{
    Label, Mistake, Node, Path, Shape, Span, Step,
    outline::Reader,
    syntax,
    tree::{Ambiguous, Builder},
    values::Plain,
};

/// The largest text that is read as a pipeline, in bytes.
pub const MAX_BYTES: u64 = 8 << 20;

/// A text and where everything in it stands.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// The file, as the user knows it.
    pub path: PathBuf,
    /// Its text, without a byte order mark. Spans are byte ranges of it.
    pub text: Arc<str>,
    root: Option<Arc<Node>>,
}

/// Where a value stands, and the way to it when that is not straight.
#[derive(Debug, Clone)]
pub struct Location<'a> {
    /// The value.
    pub node: &'a Arc<Node>,
    /// The main place: what is written, or the key where nothing is.
    pub span: Span,
    /// The key it stands under, if it stands under one.
    pub key: Option<Span>,
    /// Aliases, merges and parameters on the way.
    pub trail: Vec<Label>,
}

impl SourceFile {
    /// Reads a file's bytes as text and that as YAML. A file that cannot be read, is too large or is not UTF-8 has no text.
    pub fn read(path: &FilePath) -> (Self, Vec<Mistake>) {
        Self::read_as(path, 0)
    }

    /// The same for the text with the number `number`.
    pub(crate) fn read_as(path: &FilePath, number: usize) -> (Self, Vec<Mistake>) {
        match text_of(path) {
            Ok(text) => Self::parse_from(path, &text, number, 0),
            Err(mistake) => (Self { path: path.to_owned(), text: "".into(), root: None }, vec![*mistake]),
        }
    }

    /// Reads a text as the first one of a pipeline.
    pub fn parse(path: &FilePath, text: &str) -> (Self, Vec<Mistake>) {
        Self::parse_from(path, text, 0, 0)
    }

    /// Reads the text with the number `number` from the byte `offset` on.
    pub(crate) fn parse_from(path: &FilePath, text: &str, number: usize, offset: usize) -> (Self, Vec<Mistake>) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut mistakes = Vec::new();
        let root = match parse(&text[offset..], number, offset, &mut mistakes) {
            Ok(root) => root,
            Err(mistake) => {
                mistakes.push(*mistake);
                None
            }
        };
        (Self { path: path.to_owned(), text: text.into(), root }, mistakes)
    }

    /// The value of the whole text; `None` when it is empty or not YAML.
    pub fn root(&self) -> Option<&Arc<Node>> {
        self.root.as_ref()
    }

    /// The bytes of the value at a path: where it is written out, also when an alias leads there.
    pub fn value_range(&self, path: &Path) -> Option<Range<usize>> {
        let found = locate(self.root()?, path)?;
        Some(found.node.target().span.range())
    }

    /// The bytes of the key that leads to a path's value.
    pub fn key_range(&self, path: &Path) -> Option<Range<usize>> {
        locate(self.root()?, path)?.key.map(Span::range)
    }

    /// Every path, keys and values, in the order of the text; what aliases stand for appears at each of its places.
    pub fn paths(&self) -> Vec<Path> {
        let mut found = Vec::new();
        if let Some(root) = self.root() {
            collect(root, &Path::default(), &mut found);
        }
        found
    }
}

fn collect(node: &Node, path: &Path, found: &mut Vec<Path>) {
    found.push(path.clone());
    match &node.target().shape {
        Shape::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &path.join(index), found);
            }
        }
        Shape::Mapping(entries) => {
            for (key, entry) in entries {
                collect(&entry.value, &path.join(key), found);
            }
        }
        _ => {}
    }
}

/// Follows a path down from a node.
pub(crate) fn locate<'a>(root: &'a Arc<Node>, path: &Path) -> Option<Location<'a>> {
    let mut node = root;
    let mut key = None;
    let mut trail = Vec::new();
    for step in &path.0 {
        node = through(node, &mut trail);
        match (&node.shape, step) {
            (Shape::Mapping(entries), Step::Key(name)) => {
                let entry = entries.get(name)?;
                trail.extend(entry.merged.as_deref().cloned());
                key = Some(entry.key);
                node = &entry.value;
            }
            (Shape::Sequence(items), Step::Index(index)) => {
                key = None;
                node = items.get(*index)?;
            }
            _ => return None,
        }
    }
    while let Shape::Brought { by, inner } = &node.shape {
        trail.push(by.clone());
        node = inner;
    }
    let mut span = node.span;
    match &node.shape {
        Shape::Alias(inner) => {
            trail.push(Label::new(node.span, "used through this alias"));
            span = inner.target().span;
        }
        Shape::Parameter { name, definition, .. } => {
            trail.push(Label::new(definition.target().span, format!("`{name}` is defined here")));
        }
        Shape::Template { parameters, .. } => {
            trail.extend(
                parameters.iter().map(|(name, definition)| {
                    Label::new(definition.target().span, format!("`{name}` is defined here"))
                }),
            );
        }
        _ => {}
    }
    if span.is_empty() {
        span = key.unwrap_or(span);
    }
    Some(Location { node, span, key, trail })
}

/// What a node stands for, noting the way.
fn through<'a>(mut node: &'a Arc<Node>, trail: &mut Vec<Label>) -> &'a Arc<Node> {
    loop {
        node = match &node.shape {
            Shape::Alias(inner) => {
                trail.push(Label::new(node.span, "used through this alias"));
                inner
            }
            Shape::Brought { by, inner } => {
                trail.push(by.clone());
                inner
            }
            Shape::Parameter { written, definition, .. } => {
                trail.push(Label::new(node.span, format!("`{written}` is used here")));
                definition
            }
            _ => return node,
        };
    }
}

fn text_of(path: &FilePath) -> Result<String, Box<Mistake>> {
    let unreadable = |error: &std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            kind => kind.to_string(),
        };
        Box::new(
            Mistake::new("pipeline::unreadable", why)
                .help("name a pipeline file, or a folder that holds `pipeline.yaml`"),
        )
    };
    let too_large = |size: String| {
        Box::new(
            Mistake::new(
                "pipeline::too_large",
                format!("the file has {size} bytes; a pipeline file has at most {MAX_BYTES}"),
            )
            .help("is it the pipeline file? Data belongs into files of its own, named under `sources`"),
        )
    };
    let file = fs_err::File::open(path).map_err(|e| unreadable(&e))?;
    let size = file.metadata().map_err(|e| unreadable(&e))?.len();
    if size > MAX_BYTES {
        return Err(too_large(size.to_string()));
    }
    // What is no regular file, such as a pipe, does not tell its size.
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large(format!("more than {MAX_BYTES}")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].split(|&byte| byte == b'\n').count();
        Box::new(
            Mistake::new(
                "pipeline::not_utf8",
                format!("the file is not UTF-8: byte {} on line {line} begins no character", at + 1),
            )
            .help("save it as UTF-8"),
        )
    })
}

fn parse(
    text: &str,
    number: usize,
    offset: usize,
    mistakes: &mut Vec<Mistake>,
) -> Result<Option<Arc<Node>>, Box<Mistake>> {
    let span = |range: Range<usize>| Span::new(number, range.start + offset..range.end + offset);
    if let Some((at, c)) =
        text.char_indices().find(|&(_, c)| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}'))
    {
        return Err(Box::new(
            Mistake::new(
                "pipeline::control_character",
                format!("the text holds the control character U+{:04X}", u32::from(c)),
            )
            .at(span(at..at + c.len_utf8()), "here")
            .help("remove it; in \"…\" it can be written as an escape such as \\x07"),
        ));
    }
    // Line breaks of YAML 1.1 alone are text in YAML 1.2.
    if text.trim().is_empty() {
        return Ok(None);
    }
    let Some(outline) = Reader::new(text, number, offset).document()? else { return Ok(None) };
    let plain: Plain = serde_yaml::from_str(text).map_err(|error| {
        let at = error.location().map_or(0, |location| location.index());
        Box::new(syntax::explain(text, number, offset, byte_of(text, at), &error.to_string()))
    })?;
    match Builder::new(text, number, offset, mistakes).node(&outline, plain) {
        Ok(root) => Ok(Some(root)),
        Err(Ambiguous(span)) => Err(Box::new(
            Mistake::new("pipeline::ambiguous", "this reads differently in YAML 1.1 and in YAML 1.2")
                .at(span, "from here on")
                .help("quotation marks make it clear"),
        )),
    }
}

/// The byte of the character with that number.
fn byte_of(text: &str, character: usize) -> usize {
    text.char_indices().nth(character).map_or(text.len(), |(at, _)| at)
}
