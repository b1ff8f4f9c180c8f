//! What stands where: the tree of the marker-keeping parser, before scalars have a meaning.

use std::{collections::HashMap, ops::Range, sync::Arc};

use saphyr_parser::{Event, Parser, ScalarStyle, Span as Marks, StrInput, Tag};

use super::{Mistake, Span, syntax};

/// Deeper nesting than this is refused; it keeps every later walk off the end of the stack.
const MAX_DEPTH: usize = 64;
/// More values than this, aliases written out, are refused: a few lines of aliases can stand for billions.
const MAX_VALUES: usize = 1_000_000;

/// A node of the text.
pub(super) struct Outline {
    pub(super) range: Range<usize>,
    pub(super) form: Form,
    /// Its anchor, 0 for none.
    pub(super) anchor: usize,
    /// How many values it stands for, aliases written out.
    values: usize,
    /// How many levels it has, aliases written out.
    depth: usize,
}

pub(super) enum Form {
    Scalar { text: String, plain: bool },
    Sequence(Vec<Arc<Outline>>),
    Mapping(Vec<(Arc<Outline>, Arc<Outline>)>),
    Alias(usize),
}

/// From the parser's character positions to bytes.
struct Bytes(Option<Vec<u32>>);

impl Bytes {
    fn of(text: &str) -> Self {
        Self((!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at as u32).chain([text.len() as u32]).collect()))
    }

    fn at(&self, text: &str, chars: usize) -> usize {
        match &self.0 {
            None => chars.min(text.len()),
            Some(map) => map.get(chars).map_or(text.len(), |&at| at as usize),
        }
    }
}

pub(super) struct Reader<'a> {
    text: &'a str,
    /// Number and first byte of the text, for spans.
    number: usize,
    offset: usize,
    bytes: Bytes,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Arc<Outline>>,
    values: usize,
}

type Parsed<T> = Result<T, Box<Mistake>>;

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, number: usize, offset: usize) -> Self {
        Self {
            text,
            number,
            offset,
            bytes: Bytes::of(text),
            parser: Parser::new_from_str(text),
            anchors: HashMap::new(),
            values: 0,
        }
    }

    /// Reads the one document of the text; `None` when there is none.
    pub(super) fn document(mut self) -> Parsed<Option<Arc<Outline>>> {
        let mut found = None;
        loop {
            let (event, range) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(found),
                Event::DocumentStart(_) if found.is_some() => {
                    return Err(Box::new(
                        Mistake::new("pipeline::several_documents", "the file holds more than one YAML document")
                            .at(self.span(range), "a second document begins here")
                            .help("keep one pipeline a file, without `---` in between"),
                    ));
                }
                Event::DocumentStart(_) => {
                    let (event, range) = self.next()?;
                    found = Some(self.node(event, range, 1)?);
                }
                _ => {}
            }
        }
    }

    fn span(&self, range: Range<usize>) -> Span {
        Span::new(self.number, range.start + self.offset..range.end + self.offset)
    }

    fn next(&mut self) -> Parsed<(Event<'a>, Range<usize>)> {
        match self.parser.next_event() {
            Some(Ok((event, marks))) => Ok((event, self.range(marks))),
            Some(Err(error)) => {
                let at = self.bytes.at(self.text, error.marker().index());
                Err(Box::new(syntax::explain(self.text, self.number, self.offset, at, error.info())))
            }
            None => Ok((Event::StreamEnd, self.text.len()..self.text.len())),
        }
    }

    fn range(&self, marks: Marks) -> Range<usize> {
        let start = self.bytes.at(self.text, marks.start.index());
        start..self.bytes.at(self.text, marks.end.index()).max(start)
    }

    fn refuse_tag(&self, tag: Option<&Tag>, range: &Range<usize>) -> Parsed<()> {
        let Some(tag) = tag else { return Ok(()) };
        let written = if tag.is_yaml_core_schema() { format!("!!{}", tag.suffix) } else { tag.to_string() };
        Err(Box::new(
            Mistake::new("pipeline::tag", format!("the YAML tag `{written}` is not supported"))
                .at(self.span(range.clone()), "this value has a tag")
                .help("leave the tag out; quotation marks make a value text"),
        ))
    }

    fn too_deep(&self, range: Range<usize>) -> Box<Mistake> {
        Box::new(
            Mistake::new("pipeline::too_deep", format!("values are nested more than {MAX_DEPTH} levels deep"))
                .at(self.span(range), "too deep from here on"),
        )
    }

    fn node(&mut self, event: Event<'a>, range: Range<usize>, level: usize) -> Parsed<Arc<Outline>> {
        if level > MAX_DEPTH {
            return Err(self.too_deep(range));
        }
        let outline = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &range)?;
                let plain = style == ScalarStyle::Plain;
                let range = if plain && text.is_empty() { range.start..range.start } else { self.trimmed(range) };
                Outline { range, form: Form::Scalar { text: text.into_owned(), plain }, anchor, values: 1, depth: 1 }
            }
            Event::Alias(anchor) => {
                let Some(target) = self.anchors.get(&anchor) else {
                    return Err(Box::new(
                        Mistake::new("pipeline::recursive_alias", "an alias stands inside the value it stands for")
                            .at(self.span(range), "it would never end"),
                    ));
                };
                let (values, depth) = (target.values, target.depth);
                if level + depth > MAX_DEPTH {
                    return Err(self.too_deep(range));
                }
                Outline { range, form: Form::Alias(anchor), anchor: 0, values, depth }
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &range)?;
                self.sequence(anchor, range, level)?
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &range)?;
                self.mapping(anchor, range, level)?
            }
            _ => {
                let message = "a value is missing";
                return Err(Box::new(syntax::explain(self.text, self.number, self.offset, range.start, message)));
            }
        };
        // Collections have counted what they hold already.
        self.values += match outline.form {
            Form::Alias(_) => outline.values,
            _ => 1,
        };
        if self.values > MAX_VALUES {
            return Err(Box::new(
                Mistake::new("pipeline::too_large", format!("the file stands for more than {MAX_VALUES} values"))
                    .at(self.span(outline.range), "too many with this one")
                    .help("aliases of aliases multiply; write out what is needed"),
            ));
        }
        let outline = Arc::new(outline);
        if outline.anchor > 0 {
            self.anchors.insert(outline.anchor, outline.clone());
        }
        Ok(outline)
    }

    fn sequence(&mut self, anchor: usize, start: Range<usize>, level: usize) -> Parsed<Outline> {
        let (mut items, mut values, mut depth) = (Vec::new(), 1, 1);
        loop {
            let (event, end) = self.next()?;
            if event == Event::SequenceEnd {
                let last = items.last().map(|item: &Arc<Outline>| item.range.end);
                let range = self.around(start.start, last, end);
                return Ok(Outline { range, form: Form::Sequence(items), anchor, values, depth });
            }
            let item = self.node(event, end, level + 1)?;
            values += item.values;
            depth = depth.max(item.depth + 1);
            items.push(item);
        }
    }

    fn mapping(&mut self, anchor: usize, start: Range<usize>, level: usize) -> Parsed<Outline> {
        let (mut pairs, mut values, mut depth) = (Vec::new(), 1, 1);
        loop {
            let (event, end) = self.next()?;
            if event == Event::MappingEnd {
                let last = pairs.last().map(|(_, value): &(Arc<Outline>, Arc<Outline>)| value.range.end);
                let first = pairs.first().map(|(key, _)| key.range.start);
                let range = self.around(start.start, last, end);
                // A block's own position is that of its first key; the parser's is sometimes an anchor's.
                let begin = if self.text[range.clone()].starts_with('{') { range.start } else { first.unwrap_or(range.start) };
                return Ok(Outline { range: begin..range.end.max(begin), form: Form::Mapping(pairs), anchor, values, depth });
            }
            let key = self.node(event, end, level + 1)?;
            let (event, at) = self.next()?;
            let value = self.node(event, at, level + 1)?;
            let value = if value.range.is_empty() { self.after_key(&key, value) } else { value };
            values += key.values + value.values;
            depth = depth.max(key.depth + 1).max(value.depth + 1);
            pairs.push((key, value));
        }
    }

    /// A value of nothing stands after its key's colon, wherever the parser noticed that it is missing.
    fn after_key(&self, key: &Outline, value: Arc<Outline>) -> Arc<Outline> {
        let rest = &self.text[key.range.end..];
        let end = key.range.end + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
        let end = if self.text[end..].starts_with(':') { end + 1 } else { key.range.end };
        match Arc::try_unwrap(value) {
            Ok(value) => Arc::new(Outline { range: end..end, ..value }),
            Err(shared) => shared,
        }
    }

    /// The range of a collection: up to the closing bracket, or to the end of the last thing in a block.
    fn around(&self, start: usize, last: Option<usize>, end: Range<usize>) -> Range<usize> {
        let closing = matches!(&self.text[end.clone()], "]" | "}");
        let end = if closing { end.end } else { last.unwrap_or(start) };
        start..end.max(start)
    }

    /// Without the white space the parser counts in at the end of block and plain scalars.
    fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let written = self.text[range.clone()].trim_end_matches([' ', '\t', '\r', '\n']);
        range.start..range.start + written.len()
    }
}
