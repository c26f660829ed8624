//! One cycle: what is new in the log becomes a part, is sent, and is remembered.

use anyhow::{Context, Result};

use crate::archive::lineage::Parent;
use crate::archive::part::{self, Head, Mark};
use crate::archive::recovery_records;
use crate::archive::retention::apply;
use crate::backup::base::adopt::Ready;
use crate::backup::base::bring::{self, Bringing};
use crate::backup::base::send;
use crate::backup::capture::{self, Capture, Look};
use crate::backup::no_member::no_member;
use crate::backup::outcome::Cycle;
use crate::backup::spool::Spool;
use crate::backup::state::State;
use crate::backup::way::{Place, Way};
use crate::etcd::datadir::{self, DataDir};
use crate::etcd::wal::{Reading, Unfinished};
use crate::exit::{Exit, exit_of, fault};
use crate::node::running::place::Doubt;
use crate::node::running::surroundings::Surroundings;
use crate::node::running::unheld;
use crate::node::{Node, fence, identity};
use crate::remote::rclone::Rclone;
use crate::remote::{Object, Remote};
use crate::settings::{Settings, urls};
use crate::sys::terminal::table::count;
use crate::sys::{random, time};

/// So many generations in a row are begun, if each is found not to be as it was sent.
const GENERATIONS: u32 = 3;

/// Sends what is new, if it is worth it; `cycle` says how far it came. `doubt` is why what is read may not be what etcd wrote last.
///
/// # Errors
/// The log or the remote is not as it should be, or not to be read or reached.
pub fn run(around: &dyn Surroundings, node: &Node, doubt: Option<&Doubt>, cycle: &mut Cycle) -> Result<Exit> {
    let settings = &node.settings;
    // The timer must not disturb a recovery, nor a slow backup.
    let Some(_lock) = settings.try_lock()? else {
        log::info!("nothing done: a recovery or another backup is in progress");
        return Ok(Exit::Done);
    };
    if fence::is_up(&node.root)? {
        log::info!(
            "nothing done: a recovery is in progress ({} exists)",
            node.root.join(crate::paths::FENCE).display()
        );
        return Ok(Exit::Done);
    }
    let dir = match DataDir::open(&settings.etcd.data_dir, settings.etcd.wal_dir.as_deref()) {
        Err(e) if exit_of(&e) == Exit::NotFound => return no_member(node, e),
        dir => dir?,
    };
    let remote = Rclone::new(&settings.remote);
    let spool = Spool::open(&settings.backup_dir)?;
    let folder = settings.folder();
    let mut state = State::load(&settings.backup_dir)?.filter(|s| s.folder == folder);
    let before = state.as_ref().and_then(|s| s.seen.as_ref());
    let route = remote.route(before.map(|seen| &seen.route))?;
    let way = Way { node: around, doubt, settings, remote: &remote, spool: &spool, folder: &folder, route };

    let looked = around.now();
    let brought =
        way.look_first(state.as_mut()).and_then(|listed| Ok((listed, finish_earlier(&way, &mut state)?)));
    let (mut listed, sent) = match brought {
        Ok(brought) => brought,
        Err(e) => {
            read_what_waits(settings, looked, &dir, state.as_mut(), cycle);
            return Err(e);
        }
    };
    cycle.sent(sent);
    // A generation that turns out not to be whole, or not to be ours alone, is followed by another one at once.
    for _ in 0..GENERATIONS {
        if send_new_part(node, &way, &dir, &mut state, listed.take(), cycle)? {
            bring::behind_a_cycle(&bringing(&way, &dir, looked), way.remote, state.as_ref());
            // What was read is sent in any case: if etcd has its data elsewhere, it may still be the last there is.
            unheld::refuse_if_elsewhere(around, node, &dir)?;
            return Ok(Exit::Done);
        }
    }
    Err(fault(
        Exit::Remote,
        format!("something altered or removed {GENERATIONS} generations in a row in {folder}"),
        "see what is there: sudo /opt/bin/etcd2-backup list; find out who else writes to that directory or \
         removes from it",
    ))
}

/// How much is not sent is told, whatever keeps it from being sent, and when it was there is noted.
fn read_what_waits(
    settings: &Settings,
    looked: u64,
    dir: &DataDir,
    state: Option<&mut State>,
    cycle: &mut Cycle,
) {
    let told = || -> Result<()> {
        let Some(capture) = capture::next(dir, state.as_deref())?.new else { return Ok(()) };
        cycle.read(&capture);
        let Some(state) = state.filter(|_| capture.begins.is_none()) else { return Ok(()) };
        state.mark(Mark { time: looked, index: capture.last().index });
        state.save(&settings.backup_dir)
    };
    if let Err(e) = told() {
        log::warn!("{e:#}");
    }
}

/// Sends what is new, if it is worth it; `false` if another generation has to begin.
fn send_new_part(
    node: &Node,
    way: &Way<'_>,
    dir: &DataDir,
    state: &mut Option<State>,
    listed: Option<Vec<Object>>,
    cycle: &mut Cycle,
) -> Result<bool> {
    let settings = way.settings;
    let looked = way.node.now();
    if let Some(ready) = bring::ready(settings, state.as_ref(), dir)? {
        return begin_with(node, way, dir, state, (ready, looked), cycle);
    }
    let Look { new, unfinished } = capture::next(dir, state.as_ref())?;
    let Some(capture) = new else {
        remember(settings, state.as_mut(), unfinished)?;
        cycle.at("nothing new", state.as_ref(), looked);
        return Ok(true);
    };
    cycle.read(&capture);
    // A log that goes on from what was sent was moved with its data; any other one may be an old one.
    if let Some(doubt) = way.doubt.filter(|_| capture.begins.is_some()) {
        return Err(doubt.refusal());
    }
    let young = |s: &State| s.is_younger_than(settings.quiet_interval, looked);
    if capture.is_quiet() && state.as_ref().is_some_and(young) {
        remember(settings, state.as_mut(), unfinished)?;
        tell_held_back(settings, &capture);
        cycle.at("held back", state.as_ref(), looked);
        return Ok(true);
    }
    if needs_base(settings, state.as_ref(), &capture) {
        match bringing(way, dir, looked).bring_and_wait(way.remote) {
            Ok(()) => return send_new_part(node, way, dir, state, listed, cycle),
            Err(e) if settings.v2_only && exit_of(&e) == Exit::Refused => {
                log::warn!("only the v2 store of this member is backed up: {e:#}");
            }
            Err(e) => {
                // The unit that brings bases has more ways than a backup.
                bring::say_due(settings, Some("no generation can begin without one"))?;
                return Err(e);
            }
        }
    }
    let place = way.place_for_a_generation(state.as_ref(), &capture, listed)?;
    let ids = capture.metadata;
    identity::record(&node.root, &node.as_member(ids.cluster_id, ids.member_id))?;
    if capture.begins.is_some() || !capture.log.changes.is_empty() {
        note_other_members(node, dir, &capture);
    }

    let head = head(way, state.as_ref(), &capture, place, looked)?;
    let to = way.spool.generation(head.generation_name())?;
    let written = part::write(&to, &head, |out| capture.write_payload(out))?;
    let now = state.insert(capture.state_behind(state.as_ref(), &settings.folder(), &head, &written, looked));
    now.save(&settings.backup_dir)?;
    if !way.send(now)? {
        return Ok(false);
    }
    cycle.sent(written.name.size);
    cycle.at("sent", Some(now), looked);
    if head.sequence == 0 && head.generation > 2 {
        apply::by_itself(settings, way.remote);
    }
    Ok(true)
}

/// What an earlier run could not send, or did not see arrive, goes first and as it was. Gives its bytes. If it is not as it was
/// any more, the generation ends: what it held is in the next one.
fn finish_earlier(way: &Way<'_>, state: &mut Option<State>) -> Result<u64> {
    way.spool.drop_damaged_records()?;
    let waiting = state.as_mut().and_then(|state| state.pending.clone().map(|path| (state, path)));
    let Some((state, path)) = waiting else { return way.spool.drop_parts().map(|()| 0) };
    if let Some(why) = way.spool.objection(&path, state.generation_name(), &state.checksum)? {
        log::warn!("dropping {path}, which was waiting to be sent: it {why}; nothing is lost");
        way.lose(state, &format!("the part waiting to be sent {why}"))?;
        return Ok(0);
    }
    log::info!("sending part {} of generation {} again", state.sequence, state.generation);
    let bytes = std::fs::metadata(way.spool.dir().join(&path))?.len();
    way.send(state).map(|arrived| if arrived { bytes } else { 0 })
}

/// A part that is sent takes what was seen unfinished along in its state; without one it is noted alone.
fn remember(settings: &Settings, state: Option<&mut State>, unfinished: Option<Unfinished>) -> Result<()> {
    state.map_or(Ok(()), |state| state.remember(unfinished, &settings.backup_dir))
}

/// A cluster is never idle: 2.x logs a SYNC every 500 ms. What only that brought is not worth a call of rclone.
fn tell_held_back(settings: &Settings, capture: &Capture) {
    let synced = capture.log.synced();
    // The summary says that it was; in each cycle that is enough.
    log::debug!(
        "held back: {}, up to index {}{}; uploaded {} after the last part, or with \
         the next write",
        count(capture.log.entries, "entry that changes nothing", "entries that change nothing"),
        capture.last().index,
        synced.map_or(String::new(), |time| format!(", the newest SYNC of {}", time::rfc3339(time))),
        humantime::format_duration(settings.quiet_interval),
    );
}

/// Whether the member has data in its v3 store which the generation does not hold. One of the v2 store alone goes on where it was
/// said that this is enough, until a base is there.
fn needs_base(settings: &Settings, state: Option<&State>, capture: &Capture) -> bool {
    let goes_on = capture.begins.is_none();
    let holds_it = goes_on && state.is_some_and(|state| state.v3_base.is_some());
    capture.v3_data.is_some() && !holds_it && !(goes_on && settings.v2_only)
}

fn bringing<'a>(way: &'a Way<'_>, dir: &'a DataDir, looked: u64) -> Bringing<'a> {
    Bringing { settings: way.settings, dir, doubt: way.doubt, looked }
}

/// Begins a generation with a base of which the remote has all of the v3 store.
fn begin_with(
    node: &Node,
    way: &Way<'_>,
    dir: &DataDir,
    state: &mut Option<State>,
    (ready, looked): (Ready, u64),
    cycle: &mut Cycle,
) -> Result<bool> {
    let (settings, name) = (way.settings, ready.prepared.generation());
    // It was seen when it was sent, which may be long ago; until it is in its generation the one before goes on.
    if let Some(missing) = send::missing(&ready.prepared, way.remote, settings)? {
        let why = format!("{missing} is not in the remote any more");
        return bring::drop_it(settings, name, &why).map(|()| false);
    }
    if let Some(more) = &ready.more {
        cycle.read(more);
        note_other_members(node, dir, more);
    }
    identity::record(&node.root, &node.as_member(name.cluster_id, name.member_id))?;
    log::info!("generation {} begins with a base of the v3 store", name.number);
    let others = state.as_ref().is_none_or(|state| state.cluster_id != name.cluster_id);
    let parent = parent(settings, way.remote, name.cluster_id, others)?;
    let (behind, written) = ready.begin(way.spool, state.as_ref(), parent, looked)?;
    let now = state.insert(behind);
    now.save(&settings.backup_dir)?;
    bring::sweep(settings, Some(now))?;
    if !way.send(now)? {
        return Ok(false);
    }
    cycle.sent(written.name.size);
    cycle.at("sent", Some(now), looked);
    apply::by_itself(settings, way.remote);
    Ok(true)
}

/// Where the others are, for the day on which this node has lost its log: no backup fails for it.
fn note_other_members(node: &Node, dir: &DataDir, capture: &Capture) {
    let noted = || {
        // What a generation begins with was read from the beginning; else the log before it tells, too.
        let members = match capture.begins {
            Some(_) => datadir::members_of(capture.base.as_ref(), &capture.log.changes),
            None => dir.scan(Reading::Live)?.members(),
        }?;
        let own = node.settings.etcd.own_peer_urls()?;
        let is_own = |url: &String| own.iter().any(|own| urls::same_place(own, url));
        let others =
            members.into_values().map(|member| member.peer_urls).filter(|urls| !urls.iter().any(is_own));
        identity::record_peers(&node.root, others.flatten().collect())
    };
    if let Err(e) = noted() {
        log::debug!("could not note the other members: {e:#}");
    }
}

/// What the cluster continues: by this node's own notes, or, where it joined a recovered one and the folder has what it was a
/// member of before, by the records of the others.
fn parent(settings: &Settings, remote: &dyn Remote, cluster_id: u64, others: bool) -> Result<Option<Parent>> {
    let noted = match Parent::of(&settings.backup_dir, cluster_id) {
        // The backups must not wait for somebody to remove a file.
        Err(e) if exit_of(&e) == Exit::Corrupt => {
            log::warn!("{e:#}; reading the recovery records instead");
            None
        }
        noted => noted?,
    };
    if noted.is_some() || !others {
        return Ok(noted);
    }
    match recovery_records::parent(remote, cluster_id) {
        Ok(Some(parent)) => {
            log::info!(
                "cluster {cluster_id:x} continues {:x}, as its recovery record says",
                parent.cluster_id
            );
            parent.clone().save(&settings.backup_dir)?;
            Ok(Some(parent))
        }
        Ok(None) => Ok(None),
        Err(e) => {
            log::warn!("could not look up whether cluster {cluster_id:x} continues another one: {e:#}");
            Ok(None)
        }
    }
}

/// The part's head: its place in the chain, or the start of a new generation behind all that the remote has.
fn head(
    way: &Way<'_>,
    state: Option<&State>,
    capture: &Capture,
    place: Option<Place>,
    looked: u64,
) -> Result<Head> {
    let settings = way.settings;
    let cluster_id = capture.metadata.cluster_id;
    let (generation, writer, sequence, predecessor, parent) = match (state, &capture.begins) {
        (Some(state), None) => (state.generation, state.writer, state.sequence + 1, state.link.clone(), None),
        (_, why) => {
            let Place { number, others } = place.context("no number for a generation")?;
            log::info!("generation {number} begins: {}", why.as_deref().unwrap_or("the first one"));
            let parent = parent(settings, way.remote, cluster_id, others)?;
            (number, u32::from_ne_bytes(random::bytes()?), 0, String::new(), parent)
        }
    };
    let holds_v3 = sequence > 0 && state.is_some_and(|state| state.v3_base.is_some());
    Ok(Head {
        generation,
        sequence,
        writer,
        // Within a generation times never go back, whatever the clock does.
        time: state.filter(|_| sequence > 0).map_or(0, |s| s.time).max(looked),
        predecessor,
        marks: state.filter(|_| sequence > 0).map_or_else(Vec::new, |s| s.marks.clone()),
        parent,
        v3_data: capture.v3_data.is_some() && !holds_v3,
        ..capture.head(&settings.etcd, looked)
    })
}
