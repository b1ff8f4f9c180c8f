use std::{fmt, path::PathBuf, time::Duration};

/// How to fetch. The engine reads no environment: all of this is told to it.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// The download cache.
    pub cache: PathBuf,
    /// Use what is here and touch no network.
    pub offline: bool,
    /// The Hugging Face hub.
    pub hub: HubOptions,
    /// The command that runs pip: a program and its first arguments.
    pub pip: Vec<String>,
    /// A PEM file with the certificates to trust (what `SSL_CERT_FILE` names), in place of Mozilla's list.
    pub certificates: Option<PathBuf>,
    /// What to do when a server is busy or a connection breaks.
    pub retry: Retry,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            cache: PathBuf::new(),
            offline: false,
            hub: HubOptions::default(),
            pip: ["python3", "-m", "pip"].map(String::from).to_vec(),
            certificates: None,
            retry: Retry::default(),
        }
    }
}

/// Where the Hugging Face hub is, and where its files lie on this machine.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// The hub, or a mirror of it (`HF_ENDPOINT`). Writing `http://` here is the consent to plain HTTP with that host.
    pub endpoint: String,
    /// The folder that holds `models--ORG--REPO` (`HF_HUB_CACHE`, or `hub` in `HF_HOME`), shared with that ecosystem's
    /// other tools; without it a folder in the download cache.
    pub cache: Option<PathBuf>,
    /// The access token (`HF_TOKEN`); it is sent to the endpoint and nowhere else.
    pub token: Option<Token>,
}

impl HubOptions {
    /// The hub itself.
    pub const ENDPOINT: &'static str = "https://huggingface.co";
}

impl Default for HubOptions {
    fn default() -> Self {
        Self { endpoint: Self::ENDPOINT.to_owned(), cache: None, token: None }
    }
}

/// A secret; neither logs nor errors show it.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token as it was given; white space around it is not part of it.
    pub fn new(token: &str) -> Self {
        Self(token.trim().to_owned())
    }

    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// How often and after what pause a request is made again.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Tries in all without any progress.
    pub attempts: u32,
    /// Before the second try; doubled for each further one.
    pub pause: Duration,
    /// No pause is longer, whatever a server asks for.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, pause: Duration::from_secs(1), longest: Duration::from_secs(30) }
    }
}

impl Retry {
    /// Waits after the failed try number `attempt` (from 1), or as long as the server asked for.
    pub(crate) fn wait(&self, attempt: u32, asked: Option<Duration>) {
        let doubled = self.pause.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        std::thread::sleep(asked.unwrap_or(doubled).min(self.longest));
    }
}
