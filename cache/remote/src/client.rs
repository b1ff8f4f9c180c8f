//! The client of each kind of place, made when it is first needed.

use std::{sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    http::HttpBuilder,
    local::LocalFileSystem,
};

use crate::{Location, RemoteError, RemoteOptions, layout::Layout};

/// Tries after the first one; then a place counts as unreachable.
const RETRIES: usize = 2;

/// A place that can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) layout: Layout,
    /// Whether a large object can be sent in parts.
    pub(crate) takes_parts: bool,
}

impl Client {
    pub(crate) fn new(options: &RemoteOptions) -> Result<Self, RemoteError> {
        let failed = |why: String| RemoteError::Client { place: options.location.to_string(), why };
        let store_failed = |error: object_store::Error| failed(innermost(&error));
        let made = |store: Arc<dyn ObjectStore>, prefix: &str| Self {
            store,
            layout: Layout::new(prefix),
            takes_parts: !matches!(options.location, Location::Http { .. }),
        };
        if !matches!(options.location, Location::Folder { .. }) {
            // An error says that one is installed already: by the downloads of this process, and it is the same.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Ok(match &options.location {
            Location::S3 { bucket, prefix } => {
                let mut builder = AmazonS3Builder::new();
                for (name, value) in &options.credentials.0 {
                    if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                        builder = builder.with_config(key, value);
                    }
                }
                if let Some(region) = &options.region {
                    builder = builder.with_region(region);
                }
                if let Some(endpoint) = &options.endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                let client = client(options, options.endpoint.as_deref()).map_err(failed)?;
                let store =
                    builder.with_bucket_name(bucket).with_client_options(client).with_retry(retry(options)).build();
                made(Arc::new(store.map_err(store_failed)?), prefix)
            }
            Location::Gcs { bucket, prefix } => {
                let mut builder = GoogleCloudStorageBuilder::new();
                for (name, value) in &options.credentials.0 {
                    if let Ok(key) = name.to_ascii_lowercase().parse::<GoogleConfigKey>() {
                        builder = builder.with_config(key, value);
                    }
                }
                if let Some(endpoint) = &options.endpoint {
                    builder = builder.with_base_url(endpoint);
                }
                let client = client(options, options.endpoint.as_deref()).map_err(failed)?;
                let store =
                    builder.with_bucket_name(bucket).with_client_options(client).with_retry(retry(options)).build();
                made(Arc::new(store.map_err(store_failed)?), prefix)
            }
            Location::Http { url } => {
                let client = client(options, Some(url)).map_err(failed)?;
                let store =
                    HttpBuilder::new().with_url(url).with_client_options(client).with_retry(retry(options)).build();
                made(Arc::new(store.map_err(store_failed)?), "")
            }
            Location::Folder { path } => {
                if options.push {
                    fs_err::create_dir_all(path).map_err(|error| failed(error.to_string()))?;
                }
                let store = LocalFileSystem::new_with_prefix(path).map_err(store_failed)?.with_fsync(true);
                made(Arc::new(store), "")
            }
        })
    }
}

fn client(options: &RemoteOptions, address: Option<&str>) -> Result<ClientOptions, String> {
    let mut client = ClientOptions::new()
        .with_connect_timeout(options.timeout)
        .with_read_timeout(options.timeout)
        // However large an object is: what counts is that bytes go on coming.
        .with_timeout_disabled()
        .with_allow_http(address.is_some_and(|address| address.starts_with("http://")));
    if let Some(path) = &options.certificates {
        let text = fs_err::read(path).map_err(|error| error.to_string())?;
        for certificate in Certificate::from_pem_bundle(&text).map_err(|error| error.to_string())? {
            client = client.with_root_certificate(certificate);
        }
    }
    Ok(client)
}

fn retry(options: &RemoteOptions) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            ..BackoffConfig::default()
        },
        max_retries: RETRIES,
        retry_timeout: options.timeout,
    }
}

/// The cause at the root, in one line: what stands around it repeats it and names the client's own parts.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(cause) = at.source() {
        at = cause;
    }
    let text = at.to_string();
    // A server's answer follows, in XML.
    let line = text.lines().next().unwrap_or_default();
    line.split(": <").next().unwrap_or(line).to_owned()
}
