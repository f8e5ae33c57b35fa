#!/usr/bin/env bash
# Runs the whole suite: two processes of pytest beside each other, as evaluations change asyncio for all of theirs.
# What fails is run once more, alone: on a machine that others use, too, a browser can be late. The summary says
# which tests passed only then; what fails again fails the suite.
#   run_tests.sh PYTHON FOLDER_FOR_LOGS FOLDER_OF_EVALUATIONS ...
set -u
pytest=("$1" -m pytest)
LOGS=$2
shift 2
options=(-m "not soak")
beside=(-n 2 --dist loadfile --no-loadscope-reorder)

run_again() { # CACHE FOLDERS: the failed ones of the last run, one after another; many are no matter of chance
  failed=$(grep -c '": true' "$1/v/cache/lastfailed")
  [ "$failed" -le 30 ] || return 1
  echo "These failed, and are run once more, alone:"
  "${pytest[@]}" "${options[@]}" -o cache_dir="$1" --last-failed --last-failed-no-failures none -v "${@:2}"
}

"${pytest[@]}" "${options[@]}" "${beside[@]}" -o cache_dir="$LOGS/cache-evals" "$@" > "$LOGS/evals.log" 2>&1 &
evals=$!
trap 'kill $evals 2> /dev/null' EXIT
"${pytest[@]}" "${options[@]}" "${beside[@]}" -o cache_dir="$LOGS/cache-rest" "${@/#/--ignore=}"
rest=$?
echo "The tests of evaluations, which ran beside these:"
wait $evals
evals=$?
trap - EXIT
cat "$LOGS/evals.log"
# 1: some tests failed. Anything else (no tests, a wrong option, an interruption) is no matter of chance.
if [ $rest -eq 1 ]; then run_again "$LOGS/cache-rest" "${@/#/--ignore=}"; rest=$?; fi
if [ $evals -eq 1 ]; then run_again "$LOGS/cache-evals" "$@"; evals=$?; fi
exit $((rest + evals > 0))
