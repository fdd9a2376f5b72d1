"""Text in few bytes, for a store that charges by the kilobyte.

A session of a dozen quarter-hours is about 1.5 KB of JSON and must fit one write unit of 1,024 bytes.
Bodies are alike, so they are deflated with a dictionary of what they have in common. The first byte
says how the rest was made, and what was ever written must stay readable: a better dictionary is a
new method with a new number, never a change to this one.
"""
from __future__ import annotations

import zlib

PLAIN, DEFLATED = b"\x00", b"\x01"

# Deflate finds nearer text cheaper, so what is most common stands last.
_DICTIONARY_1 = (
    b'{"path":"/v1/push","tracker":"billable","dialect":"sessions","used_percent":,"resets_at":,"observed_at":,"window":"seven_day'
    b'_opus","window":"five_hour","source":"statusline","rollout","message","date":"2026-01-01","tz":"Europe/Berlin","America/New_'
    b'York","os":"darwin","os":"linux","version":"1.0.0","boot":"","uptime_s":,"refused":0,"dropped":{},"clock_offset_ms":0,"readers"'
    b':{"claude_code":{"state":"ok","detail":"","counted":{"sessions":,"requests":,"lines":},"skipped":{}},"codex":{"state":"absent"'
    b',"gemini":{"state":"absent","opencode":{"state":"absent","tracker":{"state":"unreadable"}},"sample":false}"claude_desktop",'
    b'"real_input_tokens":,"real_output_tokens":,"real_total_tokens":,"cache_creation_tokens":,"cache_read_tokens":,"process_id":,'
    b'"efficiency_score":,"five_hour_block_id":"","total_sessions":,"total_tokens":,"is_complete":true,"duration_minutes":,'
    b'"gpt-5-codex","gpt-5","gemini-2.5-pro","gemini-2.5-flash","claude-3-5-haiku-20241022","claude-3-5-sonnet-20241022",'
    b'"claude-3-7-sonnet-20250219","claude-sonnet-4-20250514","claude-opus-4-20250514","claude-opus-4-1-20250805",'
    b'"claude-haiku-4-5-20251001","claude-opus-4-5-20251101","claude-sonnet-4-5-20250929","fast","batch","long:200","us","stale":true,'
    b'"origin":"gone","account":"","columns":{},"metadata":{"description":"","efficiency":},"provenance":"declared","more":1,'
    b'{"id":"","session_type":"codex","session_type":"claude_code","start_time":17600000,"end_time":17600000,"last_activity":176000'
    b'00,"is_active":true,"total_messages":1,"models_used":["claude-sonnet-4-5-20250929"],"estimated_tokens":1,"conversation_id":"'
    b'","project":"","title":"","git_branch":"main","machine":"","provenance":"observed","context":{"used":,"size":200000},"usage":'
    b'[[1760000000000,1760000000000,1760000000000,"claude-sonnet-4-5-20250929","standard",1,0,0,0,0,1,null],[17'
)


def pack(text: str) -> bytes:
    """The shorter of the text itself and its deflated form."""
    plain = text.encode()
    squeezer = zlib.compressobj(6, zlib.DEFLATED, -15, zdict=_DICTIONARY_1)
    deflated = squeezer.compress(plain) + squeezer.flush()
    return DEFLATED + deflated if len(deflated) < len(plain) else PLAIN + plain


def unpack(packed: bytes) -> str:
    """What pack() was given. Raises ValueError for a method that this version does not know."""
    method, rest = packed[:1], packed[1:]
    if method == PLAIN:
        return rest.decode()
    if method == DEFLATED:
        return zlib.decompressobj(-15, zdict=_DICTIONARY_1).decompress(rest).decode()
    raise ValueError(f"packed by method {method.hex() or 'none'}, which is unknown here: install a newer version")
