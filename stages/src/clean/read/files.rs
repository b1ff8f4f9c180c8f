use std::{
    io::Read,
    path::{Path, PathBuf},
};

use fs_err::File;
use refit_engine::stage::StageError;
use walkdir::{DirEntry, WalkDir};

use crate::records::RECORDS_FILE;

/// How the rows lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::clean) enum Layout {
    /// One JSON object a line.
    Lines,
    /// A JSON array of objects, or objects one after another.
    Values,
    /// A header line and one row a line, separated by commas, semicolons or tabs.
    Csv,
}

/// One file with rows.
pub(in crate::clean) struct SourceFile {
    pub path: PathBuf,
    /// The name in reports: relative to the input, so that a moved folder gives the same bytes.
    pub name: String,
    pub bytes: u64,
    pub layout: Layout,
}

/// The files behind the input, in the order of their names.
pub(in crate::clean) struct Sources {
    pub files: Vec<SourceFile>,
    /// Files of the folder that are no data, by name.
    pub ignored: Vec<String>,
    /// Whether the input is a folder of files, so that a row's file is worth telling.
    pub many: bool,
}

impl Sources {
    /// The input itself, or the data files below it. A folder with a `records.jsonl` is a records artifact.
    pub(in crate::clean) fn find(input: &Path) -> Result<Self, StageError> {
        if !input.is_dir() {
            let name = input.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            return Ok(Self { files: vec![SourceFile::open(input, name)?], ignored: Vec::new(), many: false });
        }
        let artifact = input.join(RECORDS_FILE);
        if artifact.is_file() {
            let files = vec![SourceFile::open(&artifact, RECORDS_FILE.to_owned())?];
            return Ok(Self { files, ignored: Vec::new(), many: false });
        }
        let (mut files, mut ignored) = (Vec::new(), Vec::new());
        let visible = |entry: &DirEntry| entry.depth() == 0 || !entry.file_name().to_string_lossy().starts_with('.');
        for entry in WalkDir::new(input).follow_links(true).sort_by_file_name().into_iter().filter_entry(visible) {
            let entry = entry.map_err(|error| {
                StageError::new("clean::unreadable_folder", "a folder cannot be read").at(input).caused_by(&error)
            })?;
            if !entry.file_type().is_file() {
                continue;
            }
            let path = entry.path();
            let name = path.strip_prefix(input).unwrap_or(path).to_string_lossy().replace('\\', "/");
            if layout_by_name(path).is_some() {
                files.push(SourceFile::open(path, name)?);
            } else {
                ignored.push(name);
            }
        }
        if files.is_empty() {
            let found = match ignored.len() {
                0 => "the folder is empty".to_owned(),
                n => format!("none of the {n} files in the folder is one, such as `{}`", ignored[0]),
            };
            return Err(StageError::new("clean::no_data", format!("there is no data file here: {found}"))
                .at(input)
                .help("name a .jsonl, .ndjson, .json, .csv or .tsv file, or a folder that holds some"));
        }
        Ok(Self { files, ignored, many: true })
    }

    /// The bytes of all files.
    pub(in crate::clean) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl SourceFile {
    fn open(path: &Path, name: String) -> Result<Self, StageError> {
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut start = [0; 512];
        let mut filled = 0;
        while filled < start.len() {
            match file.read(&mut start[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        let start = &start[..filled];
        refuse_other_formats(path, start)?;
        Ok(Self {
            path: path.to_owned(),
            name,
            bytes,
            layout: layout_by_name(path).map_or_else(|| layout_by_content(start), |layout| settle(layout, start)),
        })
    }
}

fn layout_by_name(path: &Path) -> Option<Layout> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "jsonl" | "ndjson" => Some(Layout::Lines),
        "json" => Some(Layout::Values),
        "csv" | "tsv" => Some(Layout::Csv),
        _ => None,
    }
}

/// Many `.json` files hold one object a line; read so, a broken line costs one row and not the rest of the file.
fn settle(layout: Layout, start: &[u8]) -> Layout {
    if layout == Layout::Values && layout_by_content(start) == Layout::Lines { Layout::Lines } else { layout }
}

/// A file without a telling name: the first character decides.
fn layout_by_content(start: &[u8]) -> Layout {
    let text = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start).trim_ascii_start();
    match text.first() {
        Some(b'[') => Layout::Values,
        // A pretty-printed object breaks the line right after its brace.
        Some(b'{') if text[1..].trim_ascii_start().first() != Some(&b'"') => Layout::Values,
        Some(b'{') if text[1..].iter().take_while(|byte| **byte != b'"').any(|byte| *byte == b'\n') => Layout::Values,
        Some(b'{') => Layout::Lines,
        _ => Layout::Csv,
    }
}

fn refuse_other_formats(path: &Path, start: &[u8]) -> Result<(), StageError> {
    let is = match start {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16 text; save it as UTF-8",
        [0x1f, 0x8b, ..] => "gzip-compressed; unpack it first",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd-compressed; unpack it first",
        [b'P', b'K', 3, 4, ..] => "a ZIP or Excel file; export the sheet as CSV in UTF-8",
        [b'P', b'A', b'R', b'1', ..] => "a Parquet file; export it as JSON Lines",
        _ => return Ok(()),
    };
    let (what, way) = is.split_once("; ").unwrap_or((is, ""));
    Err(StageError::new("clean::unknown_format", format!("this file is {what}, not JSON or CSV in UTF-8"))
        .at(path)
        .help(way))
}
