"""What a worker may read: the models folder, and where links in it lead."""

from imageserver.inference.server.jails.rights import Jails


def test_links_are_followed_and_one_to_itself_is_none(tmp_path):
    """It ended the server at the start."""
    models, elsewhere = tmp_path / "models", tmp_path / "elsewhere"
    models.mkdir()
    elsewhere.mkdir()
    (models / "net").symlink_to(elsewhere)
    (models / "loop").symlink_to("loop")
    (models / "gone").symlink_to("nowhere")
    jail = Jails([models], tmp_path / "cache").shared()
    assert jail.read == (str(models), str(elsewhere), str(tmp_path / "cache"))
