use std::{path::PathBuf, time::Duration};

use crate::{Location, SigningKey};

/// How results are shared. Nothing is read from the environment here: all of this is told.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Where.
    pub location: Location,
    /// Whether to look there for what the store does not hold.
    pub pull: bool,
    /// Whether to copy there what is made here.
    pub push: bool,
    /// What is pushed is signed with it, and nothing else is pulled.
    pub signing_key: Option<SigningKey>,
    /// The address of a server that speaks S3, or Google's protocol for `gs://`. Writing `http://` here is the consent to plain
    /// HTTP with it.
    pub endpoint: Option<String>,
    /// The region of an S3 bucket.
    pub region: Option<String>,
    /// Without a byte for so long, the place counts as unreachable.
    pub timeout: Duration,
    /// A PEM file with certificates to trust beside the system's.
    pub certificates: Option<PathBuf>,
    /// Names and values in the manner of `AWS_ACCESS_KEY_ID` and `GOOGLE_SERVICE_ACCOUNT`; never shown.
    pub credentials: Credentials,
}

/// What the cloud's own variables say.
#[derive(Clone, Default)]
pub struct Credentials(pub Vec<(String, String)>);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}
