use std::{fmt, path::PathBuf, str::FromStr};

use crate::RemoteError;

/// Where shared results are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A bucket of Amazon's S3 or of a server that speaks it.
    S3 {
        /// The bucket.
        bucket: String,
        /// What all names begin with; may be empty.
        prefix: String,
    },
    /// A bucket of Google Cloud Storage.
    Gcs {
        /// The bucket.
        bucket: String,
        /// What all names begin with; may be empty.
        prefix: String,
    },
    /// A web server that answers GET and HEAD and, to be pushed to, PUT.
    Http {
        /// Its address, with the path all names begin with.
        url: String,
    },
    /// A folder, on a shared disk say.
    Folder {
        /// An absolute path.
        path: PathBuf,
    },
}

impl FromStr for Location {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: &str| RemoteError::Location { text: text.to_owned(), why: why.to_owned() };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let bucket_and_prefix =
            || match rest.trim_end_matches('/').split_once('/').unwrap_or((rest.trim_end_matches('/'), "")) {
                ("", _) => Err(wrong("it names no bucket")),
                (bucket, prefix) => Ok((bucket.to_owned(), prefix.to_owned())),
            };
        match scheme {
            "s3" => bucket_and_prefix().map(|(bucket, prefix)| Self::S3 { bucket, prefix }),
            "gs" => bucket_and_prefix().map(|(bucket, prefix)| Self::Gcs { bucket, prefix }),
            "http" | "https" if rest.trim_matches('/').is_empty() => Err(wrong("it names no host")),
            "http" | "https" => Ok(Self::Http { url: text.trim_end_matches('/').to_owned() }),
            "file" if rest.starts_with('/') => Ok(Self::Folder { path: rest.into() }),
            "file" => Err(wrong("a folder's address is `file://` and an absolute path")),
            other => Err(wrong(&format!("`{other}` is not known"))),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Gcs { bucket, prefix } if prefix.is_empty() => write!(f, "gs://{bucket}"),
            Self::Gcs { bucket, prefix } => write!(f, "gs://{bucket}/{prefix}"),
            // What stands before the host is a name and a password.
            Self::Http { url } => {
                match url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1))) {
                    Some((scheme, rest)) => write!(f, "{scheme}://{rest}"),
                    None => f.write_str(url),
                }
            }
            Self::Folder { path } => write!(f, "file://{}", path.display()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for text in ["s3://bucket/a/b", "gs://bucket", "https://host:8080/cache", "file:///srv/results"] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
        assert_eq!("s3://bucket/a/".parse::<Location>().unwrap().to_string(), "s3://bucket/a");
        assert_eq!("https://me:secret@host/x".parse::<Location>().unwrap().to_string(), "https://host/x");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["bucket", "s3://", "s3:///prefix", "ftp://host", "file://relative", "http://", "az://x/y"] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }
}
