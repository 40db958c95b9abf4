//! Unmodified Java clients against the release binaries.
