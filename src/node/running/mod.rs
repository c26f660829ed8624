//! The etcd that runs: which log it has open, where that is on this node, and how it was started. Asked of the kernel and not
//! of a unit's text, since etcd may be started by a shell line, a wrapper, a configuration file or a container engine, with
//! other paths inside.
//!
//! | file | what |
//! |---|---|
//! | `process.rs` | the processes that write to a log, from `/proc` |
//! | `mounts.rs` | what a path of another process is called here |
//! | `theirs.rs` | the configuration file of a process, as that sees it |
//! | `member.rs` | what a member says of itself, in the paths of this node |
//! | `which.rs` | which of several is the member of this node |
//! | `program.rs` | which program or image etcd is |
//! | `version.rs` | what that says of its version |
//! | `note.rs` | what the last look found, for who may not look |
//! | `place.rs` | where etcd was last seen to have its data, and the settings say another place |
//! | `look.rs` | looks at what runs now, and notes it |
//! | `surroundings.rs` | what a backup asks of the node: the time, and how etcd's unit runs |
//! | `unheld.rs` | a log that nobody holds while etcd runs |

pub mod look;
pub mod member;
pub mod mounts;
pub mod note;
pub mod place;
pub mod process;
pub mod program;
pub mod surroundings;
pub mod theirs;
pub mod unheld;
pub mod version;
pub mod which;
