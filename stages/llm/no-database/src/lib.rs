//! A database that cannot be opened, in the place of the one that the GPU runtime would bring.
//!
//! The runtime (cubecl) remembers which kernels are the fastest only when built with `persistence`. That feature brings a whole
//! SQL engine, which would make the binary larger by a fifth and put a database into the user's folders. Where it cannot be
//! opened, the runtime remembers in memory instead, and that memory is open to us: `refit-llm` fills it from a file of the
//! store and writes back what is new. So all that the runtime needs of the engine are the names it is compiled against; the
//! workspace's `[patch]` puts this crate in the engine's place.
//!
//! [`Builder::build`] always fails. So no [`Database`] ever exists, nor anything that would be got from one, and what they
//! do need not be written: `match *self {}`.

use std::{fmt, io::ErrorKind, time::Duration};

/// Why the database did not open. Only the last one ever happens.
#[derive(Debug)]
#[allow(missing_docs, reason = "never made here; the runtime tells them apart")]
pub enum Error {
    Busy(String),
    BusySnapshot(String),
    IoError(ErrorKind, &'static str),
    Absent,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(what) | Self::BusySnapshot(what) => f.write_str(what),
            Self::IoError(kind, what) => write!(f, "{what}: {kind}"),
            Self::Absent => f.write_str("this build has no database"),
        }
    }
}

impl std::error::Error for Error {}

/// Opens no database.
pub struct Builder;

#[allow(missing_docs, clippy::unused_async, clippy::unused_self, reason = "as the runtime calls it")]
impl Builder {
    pub fn new_local(_path: &str) -> Self {
        Self
    }

    #[must_use]
    pub fn experimental_multiprocess_wal(self, _on: bool) -> Self {
        self
    }

    #[must_use]
    pub fn experimental_vacuum(self, _on: bool) -> Self {
        self
    }

    #[must_use]
    pub fn read_only(self, _on: bool) -> Self {
        self
    }

    pub async fn build(self) -> Result<Database, Error> {
        Err(Error::Absent)
    }
}

/// Never opened.
#[derive(Debug)]
pub enum Database {}

/// Never got from a [`Database`].
pub enum Connection {}

/// Never answered by a [`Connection`].
pub enum Rows {}

/// Never read from [`Rows`].
pub enum Row {}

#[allow(missing_docs, reason = "never called")]
impl Database {
    pub fn connect(&self) -> Result<Connection, Error> {
        match *self {}
    }
}

#[allow(missing_docs, clippy::unused_async, reason = "never called")]
impl Connection {
    pub fn busy_timeout(&self, _wait: Duration) -> Result<(), Error> {
        match *self {}
    }

    pub async fn query<P>(&self, _statement: &str, _params: P) -> Result<Rows, Error> {
        match *self {}
    }

    pub async fn execute<P>(&self, _statement: &str, _params: P) -> Result<u64, Error> {
        match *self {}
    }

    pub async fn pragma_query<F>(&self, _pragma: &str, _take: F) -> Result<(), Error>
    where
        F: FnMut(&Row) -> Result<(), Error>,
    {
        match *self {}
    }

    pub async fn transaction_with_behavior(
        &mut self,
        _behavior: transaction::TransactionBehavior,
    ) -> Result<transaction::Transaction<'_>, Error> {
        match *self {}
    }
}

#[allow(missing_docs, clippy::unused_async, reason = "never called")]
impl Rows {
    pub async fn next(&mut self) -> Result<Option<Row>, Error> {
        match *self {}
    }
}

#[allow(missing_docs, reason = "never called")]
impl Row {
    pub fn get<T>(&self, _column: usize) -> Result<T, Error> {
        match *self {}
    }
}

/// Transactions, which never begin.
pub mod transaction {
    use std::ops::Deref;

    use super::{Connection, Error};

    /// How one would begin.
    #[allow(missing_docs, reason = "the runtime's names")]
    pub enum TransactionBehavior {
        Deferred,
        Immediate,
    }

    /// Never begun.
    pub struct Transaction<'a>(&'a Connection);

    #[allow(missing_docs, clippy::unused_async, reason = "never called")]
    impl Transaction<'_> {
        pub async fn commit(self) -> Result<(), Error> {
            match *self.0 {}
        }
    }

    impl Deref for Transaction<'_> {
        type Target = Connection;

        fn deref(&self) -> &Connection {
            self.0
        }
    }
}
