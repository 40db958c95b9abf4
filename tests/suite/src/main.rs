//! One program that runs every check, and the tidy test.

fn main() {}
