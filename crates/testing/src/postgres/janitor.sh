# Ends one PostgreSQL cluster and removes its folder, even where the test that started it was killed.
#   own FOLDER             when standard input closes: the process that started the cluster is gone
#   shared LOCKS N         when nobody has held LOCKS/users.lock for N seconds; LOCKS/server names the folder
# Only a server that runs in FOLDER/data is ever signaled.

ours() {
    pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null)
    [ -n "$pid" ] || return 1
    if [ -d "/proc/$pid" ]; then
        [ "$(readlink "/proc/$pid/cwd")" = "$data" ] && ! grep -q '^State:.Z' "/proc/$pid/status"
    else
        case "$(ps -p "$pid" -o args= 2>/dev/null)" in *"$data"*) ;; *) return 1 ;; esac
    fi
}

end() {
    folder=$1
    data=$folder/data
    [ -n "$folder" ] || return
    if ours; then
        kill -CONT "$pid" 2>/dev/null
        kill -QUIT "$pid" 2>/dev/null
        looks=0
        while ours && [ "$looks" -lt 200 ]; do
            sleep 0.05
            looks=$((looks + 1))
        done
        ours && kill -KILL "$pid"
    fi
    # A killed server leaves a few bytes of System V memory; the seventh line of its pid file names them.
    segment=$(sed -n 7p "$data/postmaster.pid" 2>/dev/null | awk '{ print $2 }')
    [ -n "$segment" ] && ipcrm -m "$segment" 2>/dev/null
    rm -rf "$folder"
}

case $1 in
own)
    cat >/dev/null
    end "$2"
    ;;
shared)
    locks=$2
    exec 3>>"$locks/janitor.lock" 7>>"$locks/users.lock" 8>>"$locks/start.lock"
    flock -n 3 || exit 0
    while :; do
        flock 7
        flock -u 7
        sleep "$3"
        # Whoever wants to start or join waits for the end of this.
        flock 8
        if flock -n 7; then
            end "$(sed -n 2p "$locks/server" 2>/dev/null)"
            flock -u 3
            exit 0
        fi
        flock -u 8
    done
    ;;
esac
