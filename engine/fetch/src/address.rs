use std::{fmt, net::IpAddr};

use fluent_uri::{Uri, UriRef};

use refit_engine::fetch::FetchError;

/// An address of the web.
///
/// It is shown without its query and its user, which may hold secrets such as the signature of a signed link.
#[derive(Clone)]
pub(crate) struct Address(Uri<String>);

/// Scheme, host and port: whom one talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    host: String,
    port: String,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, FetchError> {
        let bad = || {
            FetchError::new("fetch::bad_address", format!("`{text}` is no address"))
                .help("addresses look like https://HOST/PATH")
        };
        let uri = Uri::parse(text.to_owned()).map_err(|_| bad())?;
        let has_host = uri.authority().is_some_and(|authority| !authority.host().is_empty());
        if has_host { Ok(Self(uri)) } else { Err(bad()) }
    }

    /// Where a redirect leads: its target may be absolute, or relative in any of the forms RFC 3986 knows.
    pub(crate) fn join(&self, location: &str) -> Option<Self> {
        let target = UriRef::parse(location).ok()?.resolve_against(&self.0).ok()?;
        target.authority().is_some_and(|authority| !authority.host().is_empty()).then_some(Self(target))
    }

    /// The same address with another query.
    pub(crate) fn with_query(&self, query: &str) -> Self {
        let base = self.as_str().split('?').next().unwrap_or_default();
        self.join(&format!("{base}?{query}")).unwrap_or_else(|| self.clone())
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str().split('#').next().unwrap_or_default()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme().as_str().eq_ignore_ascii_case("https")
    }

    pub(crate) fn is_http(&self) -> bool {
        self.0.scheme().as_str().eq_ignore_ascii_case("http")
    }

    pub(crate) fn host(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.host())
    }

    pub(crate) fn origin(&self) -> Origin {
        let usual = if self.is_https() { "443" } else { "80" };
        let port = self.0.authority().and_then(|authority| authority.port()).map_or("", |port| port.as_str());
        Origin {
            scheme: self.0.scheme().as_str().to_ascii_lowercase(),
            host: self.host().to_ascii_lowercase(),
            port: if port.is_empty() { usual.to_owned() } else { port.to_owned() },
        }
    }

    /// Whether it is this machine itself.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The last part of the path, as a file name.
    pub(crate) fn file_name(&self) -> String {
        let last = self.0.path().as_str().rsplit('/').next().unwrap_or_default();
        let clean: String =
            last.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.+".contains(c) { c } else { '_' }).collect();
        if clean.trim_matches('.').is_empty() { "download".to_owned() } else { clean }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.origin();
        let host = self.host();
        write!(f, "{}://{host}", origin.scheme)?;
        if let Some(port) = self.0.authority().and_then(|authority| authority.port()) {
            write!(f, ":{port}")?;
        }
        f.write_str(self.0.path().as_str())?;
        if self.0.query().is_some() { f.write_str("?…") } else { Ok(()) }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
