//! The real controller on a simulated EC2, in virtual time: what happens, and what then is left.

mod amis;
mod batch;
mod budget;
mod canary;
#[cfg(test)]
mod canary_deaths;
mod cells;
mod controllers;
mod crash;
mod declared;
mod door;
mod doubt;
mod ending;
mod equip;
mod hibernate;
mod idle;
mod launch;
mod lease;
mod life;
mod masters;
mod notice;
mod pool;
mod storage;
mod sweeper;
mod tags;
mod warm;
mod wear;
