//! The real controller on a simulated EC2, in virtual time: what happens, and what then is left.

mod cells;
mod controllers;
mod crash;
mod doubt;
mod ending;
mod launch;
mod lease;
mod life;
mod notice;
mod pool;
mod storage;
mod sweeper;
mod tags;
