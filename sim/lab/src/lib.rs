//! Plans, faults, histories and checkers: what a scenario is made of.
