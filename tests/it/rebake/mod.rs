//! Rebakes on the simulated EC2: the real engine, a builder that talks, a canary, and a journal; what happens when
//! something goes wrong, and what then is left.

mod whole;
