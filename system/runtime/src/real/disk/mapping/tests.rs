//! Copies in and out of shared memory, at every alignment; runs under miri too.

#![allow(unsafe_code, reason = "tests the unsafe functions beside it")]

use super::*;

#[test]
fn every_alignment_and_length_is_copied_whole_and_nothing_beside_it() {
    let pattern: Vec<u8> = (1..=80).collect();
    for at in 0..24 {
        for len in 0..80 {
            let mut memory = vec![0_u8; 120];
            // SAFETY: 24 + 80 < 120.
            unsafe { store(memory.as_mut_ptr().add(at), &pattern[..len]) };
            assert_eq!(memory[at..at + len], pattern[..len]);
            assert!(memory[..at].iter().chain(&memory[at + len..]).all(|b| *b == 0));
            let mut back = vec![0_u8; 80];
            // SAFETY: as above; `back` holds 80 bytes.
            unsafe { load(memory.as_mut_ptr().add(at), back.as_mut_ptr(), len) };
            assert_eq!(back[..len], pattern[..len]);
            assert!(back[len..].iter().all(|b| *b == 0));
        }
    }
}
