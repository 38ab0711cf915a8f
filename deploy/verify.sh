#!/bin/sh
# Tell whether sessions are as they should be: the configuration can be read, the secrets are
# nobody else's, every account runs, trades and beats, and its journal is whole.
#
#   verify.sh [-c CONFIG] [-a ACCOUNT] [-m SECONDS] [-o ONEFOLD]
#
# CONFIG is onefold.yaml here when left out, ACCOUNT all of them, SECONDS the age from which a
# heartbeat is too old (90), ONEFOLD the program. Each finding is a line on stderr that begins with
# FAIL. Ends with 0 when there is none, with 1 when there are some, with 2 when it was called wrongly.
# It changes nothing, and may run while a session does: from a timer, or before and after an upgrade.
set -u

usage() {
    sed -n '2,/^set -u/{/^#/s/^# \{0,1\}//p;}' "$0" >&2
    exit 2
}

config=onefold.yaml account='' age_max=90 onefold=onefold
while getopts c:a:m:o: option; do
    case $option in
    c) config=$OPTARG ;;
    a) account=$OPTARG ;;
    m) age_max=$OPTARG ;;
    o) onefold=$OPTARG ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -eq 0 ] || usage
case $age_max in '' | *[!0-9]*) usage ;; esac

failed=0
ok() { printf 'ok:   %s\n' "$*"; }
fail() {
    printf 'FAIL: %s\n' "$*" >&2
    failed=1
}
give_up() {
    fail "$@"
    exit 1
}
# What a command said on its way to failing, in a line.
why() { printf '%s\n' "$1" | sed -n 's/^error: //p' | head -n 1; }

program=$(command -v "$onefold") || give_up "there is no program $onefold; name it with -o"
program=$(readlink -f "$program")
# A session's own paths begin in the folder that holds its configuration; so does .env.
cd "$(dirname "$config")" || give_up "there is no folder $(dirname "$config")"
config=$(basename "$config")

# -- what stands still -----------------------------------------------------------------------------

# Names the accounts that are enabled, in a line; the others run nowhere and need nothing.
enabled=$("$(dirname "$program")/python" - "$config" 2>&1 <<'PYTHON'
import sys

from onefold.app.settings import accounts_of, load_settings
from onefold.domain.errors import OnefoldError

try:
    accounts = accounts_of(load_settings(sys.argv[1]).settings)
except OnefoldError as error:
    sys.exit(f"error: {' '.join(str(error).split())}")
print(*(name for name, one in accounts.items() if one.enabled))
PYTHON
) || give_up "configuration: $(why "$enabled")"
ok "$config can be read"

if [ -e .env ]; then
    # The last six letters of the mode are what the group and others may do.
    mode=$(ls -ldL .env | cut -c 5-10)
    [ "$mode" = ------ ] && ok ".env is nobody else's" ||
        fail ".env can be read or written by others: chmod 600 $PWD/.env"
fi

# -- what moves ------------------------------------------------------------------------------------

# `status --json` is written with a field a line and two blanks a level.
field() { printf '%s\n' "$state" | sed -n "s/^      \"$1\": \(.*[^,]\),\{0,1\}\$/\1/p"; }
text() { field "$1" | sed 's/^"\(.*\)"$/\1/'; }
# The keys and values of a field that is an object, in a line; nothing when it is empty.
inside() {
    printf '%s\n' "$state" | sed -n "/^      \"$1\": {\$/,/^      }/{/^        /s/^ *//p;}" |
        tr '\n' ' ' | sed 's/ $//'
}

check_journal() {
    journal=$(text journal)
    [ -n "$journal" ] || return
    said=$("$program" journal verify "$journal" 2>&1) && ok "$1: $journal is whole" ||
        fail "$1: journal: $(why "$said")"
}

# What only a session that runs can tell of itself.
check_running() {
    ok "$1: runs as process $(field pid)"
    age=$(field heartbeat_age_s) trouble=$(text trouble) feeds=$(inside feeds)
    [ "${age%.*}" -lt "$age_max" ] && ok "$1: its heartbeat is $age s old" ||
        fail "$1: its heartbeat is $age s old, $age_max are allowed"
    [ -n "$switches" ] || [ "$(field killed)" != true ] ||
        fail "$1: it is halted; onefold journal tail says why"
    [ "$(field reduce_only)" != true ] || fail "$1: it only reduces positions"
    [ "$(field reconciled)" != false ] || fail "$1: it does not agree with the venue"
    [ -z "$trouble" ] || fail "$1: $trouble"
    [ -z "$feeds" ] || fail "$1: feeds: $feeds"
}

check_account() {
    state=$("$program" status "$config" --account "$1" --json 2>&1)
    how=$(text state) switches=$(inside kill_switches)
    [ -z "$switches" ] || fail "$1: kill switches are on: $switches"
    case $how in
    running) check_running "$1" ;;
    *) fail "$1: ${how:-status: $(why "$state")}" ;;
    esac
    check_journal "$1"
}

for name in ${account:-$enabled}; do
    check_account "$name"
done
exit "$failed"
