//! [`BlobName`]: what a blob is called. The name is the BLAKE3 hash of the content, so that whoever has a name can tell
//! whether bytes are what was meant, whoever sends them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The BLAKE3 hash of a blob's content. As text: 64 hexadecimal digits.
///
/// ```
/// use atlas_fs::BlobName;
///
/// let name = BlobName::of(b"");
/// assert_eq!(name.to_string(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
/// assert_eq!(name.to_string().parse(), Ok(name));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobName(pub [u8; 32]);

/// A text is no name of a blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no name of a blob: one has 64 hexadecimal digits")]
pub struct ParseBlobNameError {
    text: String,
}

impl BlobName {
    /// The name of the blob with this content.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(blake3::hash(content).into())
    }
}

impl From<blake3::Hash> for BlobName {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.into())
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobName({self})")
    }
}

impl FromStr for BlobName {
    type Err = ParseBlobNameError;

    /// Digits may be upper or lower case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        blake3::Hash::from_hex(text)
            .map(Self::from)
            .map_err(|_| ParseBlobNameError {
                text: text.chars().take(SHOWN_MAX).collect(),
            })
    }
}

/// How much of a wrong name is shown: a little more than a right one has.
const SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_64_digits_and_nothing_else() {
        let name = BlobName::of(b"blob");
        assert_eq!(name.to_string().to_uppercase().parse(), Ok(name));
        for wrong in ["", "af13", &format!("{name}0"), &"g".repeat(64), "ä"] {
            let error = wrong.parse::<BlobName>().unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains("64"), "{error}");
        }
    }
}
