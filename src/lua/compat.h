/* compat.h - the only place that tests LUA_VERSION_NUM: Lua 5.1 (and LuaJIT) to 5.5 look alike
 * to the rest of the binding. */
#ifndef LHSA_COMPAT_H
#define LHSA_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM >= 503
#define LHSA_HAS_INTEGERS 1 /* 5.3: numbers have an integer subtype of 64 bits */
#else
#define LHSA_HAS_INTEGERS 0
#define lua_isinteger(L, i) 0
#endif

#if LUA_VERSION_NUM == 501
#define lua_rawlen(L, i) lua_objlen(L, i)
#define lhsa_setuservalue(L, i) lua_setfenv(L, i)
#define lhsa_getuservalue(L, i) lua_getfenv(L, i)
#elif LUA_VERSION_NUM < 504
#define lhsa_setuservalue(L, i) lua_setuservalue(L, i)
#define lhsa_getuservalue(L, i) lua_getuservalue(L, i)
#else
#define lhsa_setuservalue(L, i) lua_setiuservalue(L, i, 1)
#define lhsa_getuservalue(L, i) lua_getiuservalue(L, i, 1)
#endif

#endif
