//! What stands where: the tree of the marker-keeping parser, before scalars have a meaning.

use std::{collections::HashMap, ops::Range};

use saphyr_parser::{Event, Parser, ScalarStyle, Span as Marks, StrInput, Tag};

use super::{Mistake, Span, syntax};

/// Deeper nesting than this is refused; it keeps every later walk off the end of the stack.
const MAX_DEPTH: u32 = 64;
/// More values than this, aliases written out, are refused: a few lines of aliases can stand for billions.
const MAX_VALUES: u32 = 1_000_000;

/// A node of the text.
pub(super) struct Outline {
    pub(super) range: Range<usize>,
    pub(super) form: Form,
    /// Its anchor, 0 for none.
    pub(super) anchor: u32,
    extent: Extent,
}

/// What a node stands for, aliases written out.
#[derive(Clone, Copy)]
struct Extent {
    /// How many values.
    values: u32,
    /// How many levels.
    depth: u32,
}

pub(super) enum Form {
    Scalar { plain: bool },
    Sequence(Box<[Outline]>),
    Mapping(Box<[(Outline, Outline)]>),
    Alias(u32),
}

/// From the parser's character positions to bytes.
struct Bytes(Option<Vec<u32>>);

impl Bytes {
    fn of(text: &str) -> Self {
        Self(
            (!text.is_ascii())
                .then(|| text.char_indices().map(|(at, _)| at as u32).chain([text.len() as u32]).collect()),
        )
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
    /// What stands behind each anchor whose value has ended.
    anchors: HashMap<u32, Extent>,
    values: u32,
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
    pub(super) fn document(mut self) -> Parsed<Option<Outline>> {
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
            // The parser has a limit of its own, which it meets first while it looks for a key.
            Some(Err(error)) if error.info().contains("recursion limit") => {
                let at = self.bytes.at(self.text, error.marker().index());
                Err(Box::new(self.too_deep(at..at)))
            }
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

    fn too_deep(&self, range: Range<usize>) -> Mistake {
        Mistake::new("pipeline::too_deep", format!("values are nested more than {MAX_DEPTH} levels deep"))
            .at(self.span(range), "too deep from here on")
    }

    fn node(&mut self, event: Event<'a>, range: Range<usize>, level: u32) -> Parsed<Outline> {
        if level > MAX_DEPTH {
            return Err(Box::new(self.too_deep(range)));
        }
        let outline = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &range)?;
                let plain = style == ScalarStyle::Plain;
                let range = match style {
                    ScalarStyle::Literal | ScalarStyle::Folded => self.with_header(self.trimmed(range)),
                    ScalarStyle::Plain if text.is_empty() => range.start..range.start,
                    _ => self.without_anchor(anchor, self.trimmed(range)),
                };
                Outline {
                    range,
                    form: Form::Scalar { plain },
                    anchor: anchor as u32,
                    extent: Extent { values: 1, depth: 1 },
                }
            }
            Event::Alias(anchor) => {
                let anchor = anchor as u32;
                let Some(&extent) = self.anchors.get(&anchor) else {
                    return Err(Box::new(
                        Mistake::new("pipeline::recursive_alias", "an alias stands inside the value it stands for")
                            .at(self.span(range), "it would never end"),
                    ));
                };
                if level + extent.depth > MAX_DEPTH {
                    return Err(Box::new(self.too_deep(range)));
                }
                Outline { range, form: Form::Alias(anchor), anchor: 0, extent }
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
            Form::Alias(_) => outline.extent.values,
            _ => 1,
        };
        if self.values > MAX_VALUES {
            return Err(Box::new(
                Mistake::new("pipeline::too_large", format!("the file stands for more than {MAX_VALUES} values"))
                    .at(self.span(outline.range), "too many with this one")
                    .help("aliases of aliases multiply; write out what is needed"),
            ));
        }
        if outline.anchor > 0 {
            self.anchors.insert(outline.anchor, outline.extent);
        }
        Ok(outline)
    }

    fn sequence(&mut self, anchor: usize, start: Range<usize>, level: u32) -> Parsed<Outline> {
        let (mut items, mut values, mut depth) = (Vec::new(), 1, 1);
        loop {
            let (event, end) = self.next()?;
            if event == Event::SequenceEnd {
                let last = items.last().map(|item: &Outline| item.range.end);
                let begin = self.without_anchor(anchor, start.start..self.text.len()).start;
                let first = items.first().map(|item| item.range.start);
                let range = if self.text[begin..].starts_with('[') && first != Some(begin) {
                    begin..self.closed(last.unwrap_or(begin + 1), ']')
                } else {
                    let begin = self.dash(begin, first);
                    begin..last.unwrap_or(begin).max(begin)
                };
                let (form, extent) = (Form::Sequence(items.into()), Extent { values, depth });
                return Ok(Outline { range, form, anchor: anchor as u32, extent });
            }
            let item = self.node(event, end, level + 1)?;
            let item = if item.range.is_empty() { self.after_dash(item) } else { item };
            values += item.extent.values;
            depth = depth.max(item.extent.depth + 1);
            items.push(item);
        }
    }

    fn mapping(&mut self, anchor: usize, start: Range<usize>, level: u32) -> Parsed<Outline> {
        let (mut pairs, mut values, mut depth) = (Vec::new(), 1, 1);
        loop {
            let (event, end) = self.next()?;
            if event == Event::MappingEnd {
                let last = pairs.last().map(|(_, value): &(Outline, Outline)| value.range.end);
                let first = pairs.first().map(|(key, _)| key.range.start);
                let begin = self.without_anchor(anchor, start.start..self.text.len()).start;
                let range = if self.text[begin..].starts_with('{') && first != Some(begin) {
                    begin..self.closed(last.unwrap_or(begin + 1), '}')
                } else {
                    // A block's own position is that of its first key.
                    let begin = first.map_or(begin, |key| self.question_mark(key));
                    begin..last.unwrap_or(begin).max(begin)
                };
                let (form, extent) = (Form::Mapping(pairs.into()), Extent { values, depth });
                return Ok(Outline { range, form, anchor: anchor as u32, extent });
            }
            let key = self.node(event, end, level + 1)?;
            let (event, at) = self.next()?;
            let value = self.node(event, at, level + 1)?;
            let value = if value.range.is_empty() { self.after_key(&key, value) } else { value };
            values += key.extent.values + value.extent.values;
            depth = depth.max(key.extent.depth + 1).max(value.extent.depth + 1);
            pairs.push((key, value));
        }
    }

    /// A value of nothing stands after its key's colon, wherever the parser noticed that it is missing.
    fn after_key(&self, key: &Outline, value: Outline) -> Outline {
        let rest = &self.text[key.range.end..];
        let end = key.range.end + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
        let end = if self.text[end..].starts_with(':') { end + 1 } else { key.range.end };
        moved(value, end)
    }

    /// The same for an item of a list.
    fn after_dash(&self, item: Outline) -> Outline {
        let end = self.text[..item.range.start].trim_end().len();
        moved(item, end)
    }

    /// One past the bracket that closes a collection, searched from the end of the last thing in it: the parser's mark is
    /// sometimes that of a comma.
    fn closed(&self, from: usize, bracket: char) -> usize {
        let mut at = from;
        loop {
            let rest = &self.text[at..];
            match rest.chars().next() {
                Some('#') => at += rest.find('\n').unwrap_or(rest.len()),
                Some(c) if c == bracket => return at + 1,
                Some(c) if c.is_whitespace() || matches!(c, ',' | ':') => at += c.len_utf8(),
                _ => return from,
            }
        }
    }

    /// The first `-` of a block sequence. Where the block is not indented, the parser's mark stands after it.
    fn dash(&self, begin: usize, first: Option<usize>) -> usize {
        let is_dash = self.text[begin..].starts_with('-') && first.is_none_or(|first| begin < first);
        if is_dash { begin } else { self.text[..first.unwrap_or(begin)].rfind('-').unwrap_or(begin) }
    }

    /// Where a key begins that is written with a `?` before it.
    fn question_mark(&self, key: usize) -> usize {
        let above = self.text[..key].trim_end_matches([' ', '\t']);
        match above.strip_suffix('?') {
            Some(before) if above.len() < key && !before.ends_with(|c: char| !c.is_whitespace()) => before.len(),
            _ => key,
        }
    }

    /// Where the parser counts an anchor in, it is no part of the value.
    fn without_anchor(&self, anchor: usize, range: Range<usize>) -> Range<usize> {
        let written = &self.text[range.clone()];
        if anchor == 0 || !written.starts_with('&') {
            return range;
        }
        let value = written.find(char::is_whitespace).map_or("", |at| written[at..].trim_start());
        range.end - value.len()..range.end
    }

    /// A block scalar begins with its `|` or `>`, which the parser leaves out.
    fn with_header(&self, range: Range<usize>) -> Range<usize> {
        if self.text[range.clone()].starts_with(['|', '>']) {
            return range;
        }
        let above = self.text[..range.start].trim_end();
        let line = &above[above.rfind('\n').map_or(0, |at| at + 1)..];
        let without_comment = line.find(" #").map_or(line, |at| &line[..at]);
        match without_comment.rfind(['|', '>']) {
            Some(at) => above.len() - line.len() + at..range.end,
            None => range,
        }
    }

    /// Without the white space the parser counts in at the end of block and plain scalars.
    fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let written = self.text[range.clone()].trim_end_matches([' ', '\t', '\r', '\n']);
        range.start..range.start + written.len()
    }
}

/// A value of nothing, somewhere else. One with an anchor stays where the anchor is.
fn moved(value: Outline, to: usize) -> Outline {
    if value.anchor > 0 { value } else { Outline { range: to..to, ..value } }
}
