use std::{io, time::Duration};

use ureq::{
    Agent, Body,
    http::{HeaderMap, Response},
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
};

use refit_engine::fetch::FetchError;

use crate::{
    FetchOptions, Retry, Token,
    address::{Address, Origin},
};

const MOST_REDIRECTS: u32 = 10;
/// A connection is alive as long as something arrives within this time.
const SILENCE: Duration = Duration::from_mins(1);
/// What a server says about a refusal is read up to this many bytes.
const LONGEST_REASON: u64 = 2000;
/// A host that cannot be reached is tried this often; waiting longer for a network that is not there helps nobody.
const TRIES_WITHOUT_NETWORK: u32 = 2;

/// A client for the few requests fetching needs.
///
/// The crate `hf-hub` 1.0 was weighed instead: through reqwest, hyper, AWS-LC and the Xet client it brings 280 crates
/// and a C build for what is two kinds of GET here. Redirects are followed here rather than by ureq: the token must
/// reach the endpoint only, a step from https to http is refused, and the hub's headers about a file (`X-Linked-…`)
/// stand on the answer before the last. Proxies are taken from the usual variables by ureq itself; this machine's own
/// addresses never use one.
pub(crate) struct Client {
    agent: Agent,
    retry: Retry,
    token: Option<Token>,
    endpoint: Option<Origin>,
}

/// The part of a file still to come.
pub(crate) struct Rest<'a> {
    /// Bytes already here.
    pub(crate) from: u64,
    /// The entity tag of the bytes already here, so that a changed file is sent whole.
    pub(crate) etag: Option<&'a str>,
}

/// An answer with a body to read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// The entity tag the hub gives the file itself, which its content server may not repeat.
    pub(crate) linked_etag: Option<String>,
}

/// Why a request has no usable answer.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// The server said no.
    Refused(Box<Refusal>),
    /// Nobody answered, or not to the end.
    Silent { host: String, cause: ureq::Error },
    /// The other side cannot prove who it is.
    Untrusted { host: String, cause: ureq::Error },
    /// The address or a redirect is not followed.
    Address(FetchError),
}

/// A status that is no success.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) address: Address,
    pub(crate) status: u16,
    /// The hub's own code, such as `GatedRepo`.
    pub(crate) code: Option<String>,
    /// What the server says.
    pub(crate) reason: Option<String>,
    /// Tries made.
    pub(crate) attempts: u32,
}

impl Client {
    pub(crate) fn new(options: &FetchOptions) -> Result<Self, FetchError> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = &options.certificates {
            tls = tls.root_certs(certificates(path)?);
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("refit/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .tls_config(tls.build());
        Ok(Self {
            agent: config.build().new_agent(),
            retry: options.retry,
            token: options.hub.token.clone(),
            endpoint: Address::parse(&options.hub.endpoint).ok().map(|address| address.origin()),
        })
    }

    pub(crate) fn retry(&self) -> Retry {
        self.retry
    }

    /// Asks for an address, or for the rest of it; again, after a pause, when the server is busy or silent.
    pub(crate) fn get(&self, address: &Address, rest: Option<&Rest>) -> Result<Answer, HttpError> {
        let mut attempt = 1;
        loop {
            let (error, asked) = match self.follow(address, rest) {
                Ok(answer) if answer.status < 400 || answer.status == 416 => return Ok(answer),
                Ok(answer) => {
                    let asked = header(&answer.headers, "retry-after").and_then(|text| text.parse().ok());
                    (HttpError::Refused(Box::new(Refusal::read(address, answer, attempt))), asked)
                }
                Err(error) => (error, None),
            };
            if attempt >= error.worth_trying(self.retry.attempts) {
                return Err(error);
            }
            self.retry.wait(attempt, asked.map(Duration::from_secs));
            attempt += 1;
        }
    }

    fn follow(&self, address: &Address, rest: Option<&Rest>) -> Result<Answer, HttpError> {
        let mut here = address.clone();
        let mut linked_etag = None;
        for _ in 0..=MOST_REDIRECTS {
            self.allow(&here).map_err(HttpError::Address)?;
            let response = self.ask(&here, rest)?;
            linked_etag = linked_etag.or_else(|| header(response.headers(), "x-linked-etag"));
            let status = response.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                let (parts, body) = response.into_parts();
                return Ok(Answer { status, headers: parts.headers, body, linked_etag });
            }
            here = target(&here, response.headers()).map_err(HttpError::Address)?;
        }
        let message = format!("{address} redirects more than {MOST_REDIRECTS} times");
        let help = "the server sends the request around in a circle; see in a browser where the address leads";
        Err(HttpError::Address(FetchError::new("fetch::too_many_redirects", message).help(help)))
    }

    fn ask(&self, address: &Address, rest: Option<&Rest>) -> Result<Response<Body>, HttpError> {
        // Compressed on the way, ranges and lengths would be those of something else.
        let mut request = self.agent.get(address.as_str()).header("Accept-Encoding", "identity");
        if let Some(token) = self.token.as_ref().filter(|_| self.endpoint.as_ref() == Some(&address.origin())) {
            request = request.header("Authorization", token.bearer());
        }
        if let Some(rest) = rest {
            request = request.header("Range", format!("bytes={}-", rest.from));
            // A weak tag says nothing about bytes, so it cannot guard a range.
            if let Some(etag) = rest.etag.filter(|etag| !etag.starts_with("W/")) {
                request = request.header("If-Range", etag);
            }
        }
        let sent = if address.is_loopback() { request.config().proxy(None).build().call() } else { request.call() };
        sent.map_err(|cause| {
            let host = address.host().to_owned();
            if is_tls(&cause) { HttpError::Untrusted { host, cause } } else { HttpError::Silent { host, cause } }
        })
    }

    /// Plain HTTP reaches this machine itself, and the endpoint if it was given so.
    fn allow(&self, address: &Address) -> Result<(), FetchError> {
        if address.is_https() {
            return Ok(());
        }
        if !address.is_http() {
            let message = format!("{address} cannot be fetched");
            return Err(FetchError::new("fetch::bad_address", message).help("addresses begin with https://"));
        }
        if address.is_loopback() || self.endpoint.as_ref() == Some(&address.origin()) {
            return Ok(());
        }
        Err(FetchError::new("fetch::plain_http", format!("{address} is not encrypted"))
            .help("use its https:// address; only a mirror set as HF_ENDPOINT may be an http:// address"))
    }
}

fn certificates(path: &std::path::Path) -> Result<RootCerts, FetchError> {
    let pem = fs_err::read(path).map_err(|error| FetchError::io("reading the certificates in", path, error))?;
    let found = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        let message = format!("{} holds no certificate in PEM form", path.display());
        return Err(FetchError::new("fetch::tls", message));
    }
    Ok(RootCerts::new_with_certs(&found))
}

/// Where a redirect leads.
fn target(from: &Address, headers: &HeaderMap) -> Result<Address, FetchError> {
    let location = header(headers, "location").unwrap_or_default();
    let to = from.join(&location).filter(|_| !location.is_empty()).ok_or_else(|| {
        FetchError::new("fetch::bad_address", format!("{from} redirects to `{location}`, which is no address"))
    })?;
    if from.is_https() && !to.is_https() {
        let message = format!("{from} redirects to {to}, which is not encrypted");
        return Err(FetchError::new("fetch::unsafe_redirect", message)
            .help("the download was refused: anyone on the way could change it; use an address that stays on https"));
    }
    Ok(to)
}

impl HttpError {
    /// Tries in all that such an error deserves.
    fn worth_trying(&self, most: u32) -> u32 {
        match self {
            Self::Refused(refusal) if refusal.is_passing() => most,
            Self::Silent { cause, .. } if is_reset(cause) => most,
            Self::Silent { .. } => most.min(TRIES_WITHOUT_NETWORK),
            _ => 1,
        }
    }

    /// The error for people. `by_hand` says how to get the same thing without this machine's network.
    pub(crate) fn explain(self, by_hand: &str) -> FetchError {
        match self {
            Self::Address(error) => error,
            Self::Refused(refusal) => refusal.explain(by_hand),
            Self::Silent { host, cause } => {
                FetchError::new("fetch::no_network", format!("{host} cannot be reached")).help(by_hand).caused_by(cause)
            }
            Self::Untrusted { host, cause } => {
                FetchError::new("fetch::tls", format!("{host} could not prove that it is {host}"))
                    .help(
                        "behind a company's proxy, name the file with its certificate in SSL_CERT_FILE; \
                         check this machine's clock too",
                    )
                    .caused_by(cause)
            }
        }
    }
}

impl Refusal {
    fn read(address: &Address, mut answer: Answer, attempts: u32) -> Self {
        let said = || header(&answer.headers, "x-error-message");
        let reason = said().or_else(|| {
            let text = answer.body.with_config().limit(LONGEST_REASON).lossy_utf8(true).read_to_string().ok()?;
            // A page for browsers explains nothing here.
            let plain = !text.trim_start().starts_with('<');
            plain.then(|| said_in(&text)).filter(|text| !text.is_empty())
        });
        let code = header(&answer.headers, "x-error-code");
        Self { address: address.clone(), status: answer.status, code, reason, attempts }
    }

    /// Whether the same request may succeed a little later.
    fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500..)
    }

    /// Whether the hub, or any server, gave this code.
    pub(crate) fn says(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// The error for people.
    pub(crate) fn explain(self, by_hand: &str) -> FetchError {
        let Self { address, status, reason, attempts, .. } = &self;
        let error = match status {
            401 | 403 => {
                FetchError::new("fetch::unauthorized", format!("{address} is not open to everyone ({status})"))
                    .help("download it with a browser that is signed in, and name the file by its path")
            }
            404 | 410 => FetchError::new("fetch::not_found", format!("there is nothing at {address} ({status})"))
                .help("check the address for a typing mistake"),
            _ if self.is_passing() => {
                let tries = if *attempts == 1 { "once".to_owned() } else { format!("{attempts} times") };
                let message = format!("{address} answered {status} {}; it was asked {tries}", name_of(*status));
                FetchError::new("fetch::busy", message).help(format!("try again later; or {by_hand}"))
            }
            _ => FetchError::new("fetch::refused", format!("{address} answered {status} {}", name_of(*status)))
                .help(by_hand),
        };
        match reason {
            Some(reason) => error.caused_by(reason.clone()),
            None => error,
        }
    }
}

/// What a body says in words: the `error` of a JSON object, or the text itself on one line.
fn said_in(body: &str) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let error = json.as_ref().and_then(|json| json.get("error")?.as_str());
    error.unwrap_or(body).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A header's value as text.
pub(crate) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}

fn name_of(status: u16) -> &'static str {
    ureq::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}

/// Whether somebody was there and the connection broke, rather than nobody being there.
fn is_reset(cause: &ureq::Error) -> bool {
    match cause {
        ureq::Error::Io(error) => {
            use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
            matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        }
        ureq::Error::Protocol(_) => true,
        _ => false,
    }
}

fn is_tls(cause: &ureq::Error) -> bool {
    match cause {
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => true,
        // The handshake's own errors arrive as I/O errors.
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    }
}
