package redislink

import (
	"reflect"

	"github.com/redis/go-redis/v9"
)

// IsNil tells whether there is no client in rdb, a nil pointer to one included: that is what a variable holds that was
// declared and never set.
func IsNil(rdb redis.UniversalClient) bool {
	v := reflect.ValueOf(rdb)
	return rdb == nil || (v.Kind() == reflect.Pointer && v.IsNil())
}
