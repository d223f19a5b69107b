package config

import "strings"

// maxTypos is how many letters may be wrong in a word for which another is suggested.
const maxTypos = 2

// Closest returns the known word that was probably meant, or "" if none is close.
func Closest(word string, known []string) string {
	found, least := "", min(maxTypos, len(word)/2)+1
	for _, candidate := range known {
		if typos := distance(strings.ToLower(word), candidate); typos < least {
			found, least = candidate, typos
		}
	}
	return found
}

// distance returns the number of letters to insert, delete, replace or swap with their neighbor
// to turn a into b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			switch {
			case i == 0 || j == 0:
				rows[i][j] = i + j
				continue
			case a[i-1] == b[j-1]:
				rows[i][j] = rows[i-1][j-1]
				continue
			}
			rows[i][j] = 1 + min(rows[i-1][j], rows[i][j-1], rows[i-1][j-1])
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], 1+rows[i-2][j-2])
			}
		}
	}
	return rows[len(a)][len(b)]
}
