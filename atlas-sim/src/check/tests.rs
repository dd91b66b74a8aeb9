//! Each checker sees what it is for: worlds that are broken on purpose.
