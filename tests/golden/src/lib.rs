//! Bytes and files made by the real Java classes, and how to make them again.
