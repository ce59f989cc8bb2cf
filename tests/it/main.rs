//! Tests of the whole: the house rules, the real controller on a simulated EC2, the interface and
//! the command line. One binary, so that it is linked once.

#[cfg(test)]
mod source;
#[cfg(test)]
mod tidy;
