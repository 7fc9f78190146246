#!/bin/sh
# Print the value of a connection or a variable that the agent of this machine answers with.
#
#   ./read.sh variable region
#   ./read.sh connection orders_db
#
# Needs curl and jq. Ends with 0 and the value, with 3 where there is none, with 1 otherwise.
set -eu

kind=$1 name=$2
agent=${STRONGROOM_SOCKET:-/run/strongroom/agent.sock}
socket=${agent%/*}/http.sock # beside the socket of the agent's own clients

# The question is made by jq, so that no character of a name means anything to JSON.
question=$(jq -nc --arg kind "$kind" --arg name "$name" '{refs: [{kind: $kind, name: $name}]}')

# --fail-with-body: an error of the agent ends this, and its message is shown. --noproxy: never by another program.
answer=$(printf %s "$question" |
    curl --silent --show-error --fail-with-body --noproxy '*' --max-time 15 --unix-socket "$socket" \
        --header 'Content-Type: application/json' --data-binary @- http://localhost/v1/read) || {
    printf '%s\n' "$answer" >&2
    exit 1
}

case $(printf %s "$answer" | jq -r '.results[0].outcome') in
found) printf %s "$answer" | jq -j '.results[0].value' ;;
absent) exit 3 ;;
*)
    printf %s "$answer" | jq -r '.results[0].error | "\(.code): \(.message)"' >&2
    exit 1
    ;;
esac
