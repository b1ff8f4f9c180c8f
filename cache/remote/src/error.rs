/// Why a remote cache cannot be used at all.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RemoteError {
    /// The address is none.
    #[error("`{text}` is no place for shared results: {why}")]
    #[diagnostic(
        code(remote::location),
        help("it is s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, https://HOST/PATH or file:///FOLDER")
    )]
    Location {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The client could not be made.
    #[error("the remote cache {place} cannot be used: {why}")]
    #[diagnostic(code(remote::client), help("check `refit config show` and the credentials in the environment"))]
    Client {
        /// Where.
        place: String,
        /// What the client said.
        why: String,
    },
}
