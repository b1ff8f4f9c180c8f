//! What transformers adds to Jinja (`utils/chat_template_utils.py`).

use std::{error::Error as _, fmt, io};

use jiff::civil::Date;
use minijinja::{Environment, Error, ErrorKind, value::Kwargs};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// The day every template sees. The true day would give other tokens tomorrow than today, while the cache and the
/// adapter's template both promise the same; this one is what Llama 3's template falls back to by itself.
const TODAY: Date = jiff::civil::date(2024, 7, 26);

pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "raised by the template").with_source(Raised(message)))
    });
    environment.add_function("strftime_now", |format: String| -> Result<String, Error> {
        jiff::fmt::strtime::format(&format, TODAY.at(0, 0, 0, 0))
            .map_err(|cause| Error::new(ErrorKind::InvalidOperation, format!("bad date format: {cause}")))
    });
    environment.add_filter("tojson", tojson);
}

/// A message of the template's author to the user.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// What the template itself refused, if that is why it failed.
pub(super) fn raised(error: &Error) -> Option<&str> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(Raised(message)) = cause.downcast_ref::<Raised>() {
            return Some(message);
        }
        next = cause.source();
    }
    None
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=…)`; Jinja's own filter escapes HTML.
#[expect(clippy::needless_pass_by_value, reason = "filters take their options by value")]
fn tojson(value: &minijinja::Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "tojson(ensure_ascii=true) is not supported"));
    }
    options.assert_all_used()?;
    let mut out = Vec::new();
    let done = match indent {
        Some(width) => {
            let spaces = " ".repeat(width);
            value.serialize(&mut Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(spaces.as_bytes())))
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut out, PythonSpacing)),
    };
    done.map_err(|cause| Error::new(ErrorKind::BadSerialization, "not expressible as JSON").with_source(cause))?;
    String::from_utf8(out).map_err(|cause| Error::new(ErrorKind::BadSerialization, "not UTF-8").with_source(cause))
}

/// `", "` and `": "`, as Python separates.
struct PythonSpacing;

impl Formatter for PythonSpacing {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Turns the `{% generation %}` blocks some templates carry into blocks that always hold, white-space marks kept. Where
/// the loss lies is found from the conversation, so the marks are not needed.
pub(super) fn without_generation_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{%") {
        let (before, tag_on) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = tag_on.find("%}") else {
            rest = tag_on;
            break;
        };
        let (tag, after) = tag_on.split_at(end + 2);
        let inner = tag[2..tag.len() - 2].trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        match inner {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
