"""The org's users: who they are, how they sign in, and the first two of a fresh org."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .data_file import ORGANIZATION_NAME, DataFile
from .errors import SalesforceError
from .rights import Rights

ADMIN_NAME: Final = "admin@local.example"
INTEGRATION_NAME: Final = "integration@local.example"
PASSWORD: Final = "local-password"  # noqa: S105 - the documented default of a local program
TOKEN: Final = "local-token"  # noqa: S105
_DATA_OBJECTS: Final = ("Account", "Contact", "Lead", "Opportunity")
_USERS: Final = (
    "SELECT u.Id, u.Username, trim(coalesce(u.FirstName || ' ', '') || u.LastName), u.Email, "
    "u.IsActive, l.is_admin, p.Name, l.password, l.token FROM User u "
    "JOIN _logins l ON l.user_id = u.Id LEFT JOIN Profile p ON p.Id = u.ProfileId"
)


@dataclass(frozen=True, slots=True)
class User:
    """A user of the org, with what a sign-in is checked against."""

    id: str
    username: str
    name: str
    email: str
    is_active: bool
    is_admin: bool
    profile: str
    password: str
    token: str


class Users:
    """The users. Each has a profile of its own, and the permission set that goes with it."""

    def __init__(self, data: DataFile, rights: Rights) -> None:
        """Keep what the users are read from, and whose cache their changes end."""
        self._data = data
        self._rights = rights

    def seed(self) -> None:
        """Fill a fresh org: its Organization, an administrator and an integration user."""
        if self._data.read().execute("SELECT 1 FROM Organization").fetchone():
            return

        with self._data.write():
            admin_profile = self._data.insert("Profile", {"Name": "System Administrator"})
            plain_profile = self._data.insert(
                "Profile", {"Name": "Minimum Access - API Only Integrations"}
            )
            self._seed_organization()

            self._add(ADMIN_NAME, PASSWORD, TOKEN, admin_profile, is_admin=True)
            self._add(INTEGRATION_NAME, PASSWORD, TOKEN, plain_profile, is_admin=False)

    def _seed_organization(self) -> None:
        self._data.insert(
            "Organization",
            {
                "Name": ORGANIZATION_NAME,
                "Country": "US",
                "OrganizationType": "Enterprise Edition",
                "InstanceName": "LOC1",
                "DefaultLocaleSidKey": "en_US",
                "TimeZoneSidKey": "GMT",
                "LanguageLocaleKey": "en_US",
                "IsSandbox": 1,
            },
            record_id=self._data.org_id,
        )

    def all(self) -> list[User]:
        """List the users, oldest first."""
        rows = self._data.read().execute(f"{_USERS} ORDER BY u.rid")
        return [
            User(
                user_id,
                username,
                name,
                email,
                bool(active),
                bool(admin),
                profile or "",
                word,
                token,
            )
            for user_id, username, name, email, active, admin, profile, word, token in rows
        ]

    def by_id(self, user_id: str) -> User:
        """Find a user by id.

        Raises:
            KeyError: there is none.
        """
        for user in self.all():
            if user.id == user_id:
                return user
        raise KeyError(user_id)

    def by_name(self, username: str) -> User | None:
        """Find a user by user name, whatever the case."""
        wanted = username.casefold()
        return next((user for user in self.all() if user.username.casefold() == wanted), None)

    @property
    def admin(self) -> User:
        """Give the administrator."""
        return next(user for user in self.all() if user.is_admin)

    @property
    def integration(self) -> User:
        """Give the integration user."""
        return next(user for user in self.all() if not user.is_admin)

    def create(
        self,
        username: str,
        *,
        password: str,
        token: str,
        is_admin: bool = False,
        is_active: bool = True,
    ) -> User:
        """Add a user with a profile of its own.

        Raises:
            SalesforceError: 400 DUPLICATE_USERNAME.
        """
        if self.by_name(username):
            raise SalesforceError(
                400, "DUPLICATE_USERNAME", "Duplicate Username. The username already exists."
            )

        with self._data.write():
            profile = self._data.insert("Profile", {"Name": f"Profile of {username}"})
            user_id = self._add(username, password, token, profile, is_admin=is_admin)

        return self.update(user_id, is_active=is_active)

    def update(
        self,
        user_id: str,
        *,
        password: str | None = None,
        token: str | None = None,
        is_active: bool | None = None,
        is_admin: bool | None = None,
    ) -> User:
        """Change a user; what is None stays."""
        # The names are column names of _logins, and never come from outside.
        logins = {"password": password, "token": token, "is_admin": is_admin}

        with self._data.write() as connection:
            for name, value in logins.items():
                if value is not None:
                    connection.execute(
                        f"UPDATE _logins SET {name} = ? WHERE user_id = ?",  # noqa: S608
                        (value, user_id),
                    )
            if is_active is not None:
                connection.execute(
                    "UPDATE User SET IsActive = ? WHERE Id = ?", (int(is_active), user_id)
                )

        self._rights.forget()
        return self.by_id(user_id)

    def _add(
        self, username: str, password: str, token: str, profile: str, *, is_admin: bool
    ) -> str:
        short = username.partition("@")[0]
        user_id = self._data.insert(
            "User",
            {
                "Username": username,
                "LastName": short.capitalize(),
                "FirstName": None,
                "Email": username,
                "Alias": short[:8],
                "CommunityNickname": short[:40],
                "IsActive": 1,
                "TimeZoneSidKey": "GMT",
                "LocaleSidKey": "en_US",
                "EmailEncodingKey": "UTF-8",
                "LanguageLocaleKey": "en_US",
                "ProfileId": profile,
                "UserType": "Standard",
            },
        )

        with self._data.write() as connection:
            connection.execute(
                "INSERT INTO _logins VALUES (?, ?, ?, ?)", (user_id, password, token, int(is_admin))
            )

        self._grant_objects(user_id, profile, is_admin=is_admin)
        return user_id

    def _grant_objects(self, user_id: str, profile: str, *, is_admin: bool) -> None:
        """Make the profile's own permission set, as Salesforce keeps one behind each profile."""
        parent = self._data.insert(
            "PermissionSet",
            {
                "Name": f"X{profile}",
                "Label": f"Profile of {user_id}",
                "ProfileId": profile,
                "IsOwnedByProfile": 1,
                "IsCustom": 0,
                "PermissionsApiEnabled": 1,
                "PermissionsCustomizeApplication": int(is_admin),
                "PermissionsViewAllData": int(is_admin),
                "PermissionsModifyAllData": int(is_admin),
            },
        )

        for name in _DATA_OBJECTS:
            self._data.insert(
                "ObjectPermissions",
                {
                    "ParentId": parent,
                    "SobjectType": name,
                    "PermissionsRead": 1,
                    "PermissionsCreate": 1,
                    "PermissionsEdit": 1,
                    "PermissionsDelete": int(is_admin),
                    "PermissionsViewAllRecords": 1,
                    "PermissionsModifyAllRecords": int(is_admin),
                },
            )

        self._data.insert(
            "PermissionSetAssignment", {"PermissionSetId": parent, "AssigneeId": user_id}
        )
