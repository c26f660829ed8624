//! Bases of the v3 store: `snap/db` as it is at one entry, beside the log that goes on from there.
//!
//! A cycle sends what is new in the log; a base is as large as the store, and takes as long. So it is brought to the remote beside the
//! cycles, which go on in the generation before it, and the first cycle behind its last piece begins a generation with it.
//!
//! - [`copy`]: a copy of the store as of one transaction, of a member that runs
//! - [`due`]: when there is to be another one · [`take`]: the copy, and what of the log belongs to it
//! - [`prepared`]: both on this disk, until they are in a generation · [`send`]: the store, piece by piece
//! - [`adopt`]: the part that begins the generation · [`bring`]: all of it but that, in its order

pub mod adopt;
pub mod bring;
pub mod copy;
pub mod due;
pub mod prepared;
pub mod send;
pub mod take;
