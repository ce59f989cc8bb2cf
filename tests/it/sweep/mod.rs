//! Sweeps: what is left over and what may be done about it, as values; and whole sweeps on the simulated
//! EC2.

mod addresses;
mod always;
mod deaths;
mod desk;
mod files;
mod flow;
mod guards;
mod images;
mod instances;
mod looks;
mod protection;
mod rooms;
mod storage;
