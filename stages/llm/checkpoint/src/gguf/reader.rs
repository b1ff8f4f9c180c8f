use crate::CheckpointError;

/// Reads little-endian numbers and strings from the start of a file; never past its end.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], CheckpointError> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end)).ok_or_else(|| {
            CheckpointError::new(
                "gguf::truncated",
                format!(
                    "the file ends inside {what}: {count} bytes are needed at byte {}, it has {} in all",
                    self.at,
                    self.bytes.len()
                ),
            )
            .with_help("the file was not fetched whole; fetch it again")
        })?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], CheckpointError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, CheckpointError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, CheckpointError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A count or size; what does not fit the address space is past the end of any file.
    pub(super) fn size(&mut self, what: &str) -> Result<usize, CheckpointError> {
        Ok(usize::try_from(self.u64(what)?).unwrap_or(usize::MAX))
    }

    /// A count of things of which each takes at least `least` bytes of what is left of the file.
    pub(super) fn count(&mut self, least: usize, what: &str) -> Result<usize, CheckpointError> {
        let count = self.size(what)?;
        let left = self.bytes.len() - self.at;
        if count > left / least {
            return Err(CheckpointError::new(
                "gguf::absurd_count",
                format!("{what} claims {count} entries, but only {left} bytes of the file are left"),
            )
            .with_help("the file is damaged or was not fetched whole; fetch it again"));
        }
        Ok(count)
    }

    pub(super) fn string(&mut self, what: &str) -> Result<&'a str, CheckpointError> {
        let length = self.size(what)?;
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|cause| {
            CheckpointError::new("gguf::not_utf8", format!("{what} is not UTF-8 text")).caused_by(cause)
        })
    }
}
