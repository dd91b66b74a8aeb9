//! The attributes and macros of Atlas.
