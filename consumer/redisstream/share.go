package redisstream

import "slices"

// share is how many of so many streams the member me is to read. The shares of all members, who are sorted, add up.
func share(streams int, members []string, me string) int {
	rank, found := slices.BinarySearch(members, me)
	if !found {
		return 0
	}
	n := streams / len(members)
	if rank < streams%len(members) {
		n++
	}
	return n
}
