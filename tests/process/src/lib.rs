//! Real binaries under kill -9, bad input and bad luck.
