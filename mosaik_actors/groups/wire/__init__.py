"""What members say to each other and write down, as bytes.

Every frame, record and stored value of a group has its type and its limits here, with one strict
decoder each: what does not fit is refused with `DecodeError` before anything is built. All are
MessagePack arrays, those of one union with a tag. Nothing here decides anything.

Start with `frames` (which kinds of frame a bond carries) and `records` (what a log is made of).
`raft` has the messages of replicas; `bootstrap`, `merge` and `sync` those of the rooms with these
names; `system_entries` those by which a group changes itself; `status` what a member tells of its
standing; `group_record` what it must remember beside its log.

Imports no other room.
"""
