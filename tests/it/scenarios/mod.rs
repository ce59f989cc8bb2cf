//! The real controller on a simulated EC2, in virtual time: what happens, and what then is left.

mod crash;
mod life;
