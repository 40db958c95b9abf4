//! One file per scenario, and the sim program that runs them.

fn main() {}
