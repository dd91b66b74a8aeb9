//! Files of a state folder: readable by their owner alone, and never half written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pem::Pem;
use rustls::pki_types::CertificateDer;

use crate::verify::VerifyError;
use crate::whole_file::{replace, replace_secret, restrict};

/// Why a file of a state folder cannot be used. Each says which.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It is not there.
    #[error("{} is not there: enrol this node with a join token, or name the folder in which it was enrolled", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {}: see that this user owns it", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}: see that this user owns the folder, and that its disk is neither full nor read-only", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others can read what must be secret.
    #[error(
        "{} can be read by others (mode {mode:o}): make it private with `chmod 600`, and enrol this node anew \
         if somebody may have read it", path.display()
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The certificate in it is out of date, or of other authorities than the node trusts.
    #[error("the certificate in {} does not hold: enrol this node anew with a join token, and see that its clock is right", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: Box<VerifyError>,
    },
    /// It holds something else.
    #[error("{} is damaged ({what}): restore it, or move it away and enrol this node anew", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Makes the folder of a node's state, if need be, and sees whether it can be written: for who is about to enrol, which uses up a
/// token.
///
/// # Errors
///
/// It cannot be.
pub fn check_writable(folder: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Write {
        path: folder.into(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let probe = folder.join(".probe");
    // More than what is kept takes.
    replace(&probe, &[0; 16 << 10]).map_err(failed)?;
    fs::remove_file(&probe).map_err(failed)
}

/// Makes the folder if need be, closed to others.
pub(crate) fn create_folder(folder: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Write {
        path: folder.into(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    restrict(folder, 0o700).map_err(failed)
}

/// The file is replaced as a whole, or left as it is.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> Result<(), StoreError> {
    let path = folder.join(name);
    let written = replace_secret(&path, text.as_bytes());
    written.map_err(|source| StoreError::Write { path, source })
}

pub(crate) fn read(folder: &Path, name: &str) -> Result<String, StoreError> {
    let path = folder.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            Err(StoreError::Missing { path })
        }
        Err(source) => Err(StoreError::Read { path, source }),
    }
}

/// As [`read`], of a file that nobody else may read.
pub(crate) fn read_secret(folder: &Path, name: &str) -> Result<String, StoreError> {
    let text = read(folder, name)?;
    let path = folder.join(name);
    match others_may(&path) {
        Ok(0) => Ok(text),
        Ok(mode) => Err(StoreError::Exposed { path, mode }),
        Err(source) => Err(StoreError::Read { path, source }),
    }
}

pub(crate) fn write_certificates(
    folder: &Path,
    name: &str,
    certificates: &[CertificateDer<'_>],
) -> Result<(), StoreError> {
    let blocks = certificates
        .iter()
        .map(|der| Pem::new(CERTIFICATE, der.to_vec()));
    write(folder, name, &pem::encode_many(&blocks.collect::<Vec<_>>()))
}

pub(crate) fn read_certificates(
    folder: &Path,
    name: &str,
) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let text = read(folder, name)?;
    let blocks = pem::parse_many(text).map_err(|error| damaged(folder, name, error))?;
    if blocks.is_empty() || blocks.iter().any(|block| block.tag() != CERTIFICATE) {
        return Err(damaged(
            folder,
            name,
            "it holds no certificates, or other things",
        ));
    }
    Ok(blocks
        .into_iter()
        .map(|block| block.into_contents().into())
        .collect())
}

pub(crate) fn damaged(folder: &Path, name: &str, what: impl ToString) -> StoreError {
    StoreError::Damaged {
        path: folder.join(name),
        what: what.to_string(),
    }
}

/// The permissions, if they let in others; otherwise zero.
#[cfg(unix)]
fn others_may(path: &Path) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    Ok(if mode & 0o077 == 0 { 0 } else { mode })
}

#[cfg(not(unix))]
fn others_may(_: &Path) -> io::Result<u32> {
    Ok(0)
}

const CERTIFICATE: &str = "CERTIFICATE";
