# Ends the servers of a test process and removes their folder ($1), once the process is gone, however it went.
trap '' HUP INT QUIT TERM
while read -r _; do :; done

# A server writes its pid file by the folder's old name before it runs: after the rename no new one can start.
mv "$1" "$1.ended" && cd "$1.ended" || exit 0

runs() { # A zombie doesn't: its new parent may never ask for it.
	kill -0 "$1" && ! grep -q '^State:.Z' "/proc/$1/status"
}

for file in */frozen; do
	for pid in $(cat "$file"); do kill -CONT "$pid"; done
done
for file in */pid; do
	[ -e "$file" ] || continue
	n=0
	until [ -s "$file" ] || [ $n -ge 20 ]; do n=$((n + 1)); sleep 0.1; done
	pid=$(cat "$file") && [ -n "$pid" ] || continue
	kill -CONT "$pid"
	case $file in
	initdb*) ;; # It ends by itself, and killed it would leave shared memory that is written down nowhere.
	postgres*) kill -QUIT "$pid" ;; # An immediate shutdown takes all backends along, and its shared memory.
	*) kill -KILL "-$pid" ;;
	esac
done
for file in initdb*/pid postgres*/pid; do
	pid=$(cat "$file") && [ -n "$pid" ] || continue
	n=0
	while runs "$pid" && [ $n -lt 50 ]; do n=$((n + 1)); sleep 0.1; done
	kill -KILL "-$pid"
done
for file in */data/postmaster.pid; do
	id=$(awk 'NR == 7 { print $2 }' "$file") && [ -n "$id" ] && ipcrm -m "$id"
done
cd / && rm -rf "$1.ended"
