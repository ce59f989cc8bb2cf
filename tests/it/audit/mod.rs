//! The owner's report: made of whole fleets on the simulated EC2, and compared with what EC2 knows.

mod desk;
mod fleets;
mod strangers;
