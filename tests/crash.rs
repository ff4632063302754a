//! Runs that are killed, damaged or resumed.
