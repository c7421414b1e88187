// pgjdbc: statements become named at the fifth run, and fetch sizes are portals with a limit.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;

import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;

public class WithPgjdbc {
    interface Check {
        String run() throws Exception;
    }

    interface Call {
        void run() throws SQLException;
    }

    static final String WORDS = "grüße 'x' \\ \"y\"";
    static final String SLEEPING =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' "
            + "AND query LIKE 'SELECT pg_sleep%'";

    static Connection client;

    public static void main(String[] arguments) throws Exception {
        client = connect("demo");
        String driver = client.getMetaData().getDriverVersion();
        System.out.println("version\tok\tpgjdbc " + driver + ", Java " + System.getProperty("java.version"));
        check("login", WithPgjdbc::login);
        check("simple", WithPgjdbc::simple);
        check("parameters", WithPgjdbc::parameters);
        check("named", WithPgjdbc::named);
        check("transaction", WithPgjdbc::transaction);
        check("rollback", WithPgjdbc::rollback);
        check("savepoint", WithPgjdbc::savepoint);
        check("copy in", WithPgjdbc::copyIn);
        check("copy out", WithPgjdbc::copyOut);
        check("cursor", WithPgjdbc::cursor);
        check("cancel", WithPgjdbc::cancel);
        check("notify", WithPgjdbc::hear);
        check("big row", WithPgjdbc::bigRow);
        check("own writes", WithPgjdbc::ownWrites);
        check("altered", WithPgjdbc::altered);
        client.close();
    }

    static void check(String name, Check check) {
        String told = "ok";
        String saw = "";
        try {
            saw = check.run();
        } catch (Exception | AssertionError error) {
            told = "fail";
            saw = error.toString();
        }
        System.out.println(name + "\t" + told + "\t" + saw.replaceAll("\\s+", " ").trim());
    }

    static Connection connect(String password) throws SQLException {
        Properties place = new Properties();
        place.setProperty("user", System.getenv("PGUSER"));
        place.setProperty("password", password);
        place.setProperty("sslmode", "verify-full");
        place.setProperty("sslrootcert", System.getenv("PGSSLROOTCERT"));
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT");
        return DriverManager.getConnection(url + "/" + System.getenv("PGDATABASE"), place);
    }

    static void expect(Object seen, Object wanted) {
        if (!wanted.equals(seen)) {
            throw new AssertionError(seen + " in place of " + wanted);
        }
    }

    /** Runs what must fail, and returns its SQLSTATE. */
    static String refusal(Call call) {
        try {
            call.run();
        } catch (SQLException error) {
            return error.getSQLState();
        }
        throw new AssertionError("it was not refused");
    }

    static void execute(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    static String one(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(sql)) {
            rows.next();
            return rows.getString(1);
        }
    }

    static String login() throws SQLException {
        expect(one(client, "SELECT current_user"), "demo");
        return refusal(() -> connect("wrong"));
    }

    static String simple() throws SQLException {
        try (Statement statement = client.createStatement()) {
            statement.execute("SELECT 1; SELECT 'two'");
            statement.getMoreResults();
            ResultSet rows = statement.getResultSet();
            rows.next();
            expect(rows.getString(1), "two");
        }
        return "";
    }

    static String parameters() throws SQLException {
        try (PreparedStatement statement = client.prepareStatement("SELECT ?::int + 1, ?::text, ?::text")) {
            statement.setInt(1, 41);
            statement.setString(2, WORDS);
            statement.setString(3, null);
            ResultSet rows = statement.executeQuery();
            rows.next();
            expect(rows.getInt(1), 42);
            expect(rows.getString(2), WORDS);
            rows.getString(3);
            expect(rows.wasNull(), true);
        }
        return "";
    }

    static String named() throws SQLException {
        try (PreparedStatement doubled = client.prepareStatement("SELECT ? * 2")) {
            for (int n = 0; n < 50; n++) {
                doubled.setInt(1, n);
                ResultSet rows = doubled.executeQuery();
                rows.next();
                expect(rows.getInt(1), 2 * n);
            }
        }
        return "";
    }

    static String transaction() throws SQLException {
        execute(client, "CREATE TABLE moved (n int PRIMARY KEY)");
        client.setAutoCommit(false);
        try (PreparedStatement insert = client.prepareStatement("INSERT INTO moved VALUES (?)")) {
            for (int n : new int[] {1, 2}) {
                insert.setInt(1, n);
                insert.addBatch();
            }
            insert.executeBatch();
        }
        client.commit();
        client.setAutoCommit(true);
        expect(one(client, "SELECT count(*) FROM moved"), "2");
        return "";
    }

    static String rollback() throws SQLException {
        client.setAutoCommit(false);
        execute(client, "INSERT INTO moved VALUES (3)");
        String first = refusal(() -> one(client, "SELECT 1 / 0"));
        String second = refusal(() -> one(client, "SELECT 1"));
        client.rollback();
        client.setAutoCommit(true);
        expect(one(client, "SELECT count(*) FROM moved"), "2");
        return first + ", " + second;
    }

    static String savepoint() throws SQLException {
        client.setAutoCommit(false);
        execute(client, "INSERT INTO moved VALUES (4)");
        Savepoint before = client.setSavepoint();
        String code = refusal(() -> execute(client, "INSERT INTO moved VALUES (4)"));
        client.rollback(before);
        execute(client, "INSERT INTO moved VALUES (5)");
        client.commit();
        client.setAutoCommit(true);
        expect(one(client, "SELECT count(*) FROM moved"), "4");
        return code;
    }

    static String lines() {
        StringBuilder text = new StringBuilder();
        for (int n = 1; n <= 1000; n++) {
            text.append(n).append("\tword ").append(n).append('\n');
        }
        return text.toString();
    }

    static String copyIn() throws Exception {
        execute(client, "CREATE TABLE copied (n int, word text)");
        CopyManager copies = client.unwrap(PGConnection.class).getCopyAPI();
        expect(copies.copyIn("COPY copied FROM STDIN", new StringReader(lines())), 1000L);
        expect(one(client, "SELECT count(*) FROM copied"), "1000");
        return "";
    }

    static String copyOut() throws Exception {
        StringWriter out = new StringWriter();
        client.unwrap(PGConnection.class).getCopyAPI().copyOut("COPY copied TO STDOUT", out);
        expect(out.toString(), lines());
        return "";
    }

    static String cursor() throws SQLException {
        client.setAutoCommit(false);
        int total = 0;
        try (Statement statement = client.createStatement()) {
            statement.setFetchSize(100);
            ResultSet rows = statement.executeQuery("SELECT n FROM generate_series(1, 1000) AS n");
            while (rows.next()) {
                total += rows.getInt(1);
            }
        }
        client.commit();
        client.setAutoCommit(true);
        expect(total, 500500);
        return "";
    }

    static String cancel() throws Exception {
        try (Statement sleeping = client.createStatement()) {
            Thread canceller = new Thread(() -> {
                try (Connection other = connect("demo")) {
                    while (one(other, SLEEPING).equals("0")) {
                        Thread.sleep(10);
                    }
                    sleeping.cancel();
                } catch (SQLException | InterruptedException error) {
                    throw new IllegalStateException(error);
                }
            });
            canceller.start();
            String code = refusal(() -> sleeping.execute("SELECT pg_sleep(60)"));
            canceller.join();
            expect(one(client, "SELECT 1"), "1");
            return code;
        }
    }

    static String hear() throws SQLException {
        execute(client, "LISTEN bells");
        try (Connection other = connect("demo")) {
            execute(other, "NOTIFY bells, 'ding'");
        }
        PGNotification[] heard = client.unwrap(PGConnection.class).getNotifications(30_000);
        expect(heard.length, 1);
        expect(heard[0].getName() + " " + heard[0].getParameter(), "bells ding");
        execute(client, "UNLISTEN bells");
        return "";
    }

    static String bigRow() throws SQLException {
        String big = "0123456789abcdef".repeat(8 * 1024 * 1024 / 16);
        try (PreparedStatement statement = client.prepareStatement("SELECT ?::text")) {
            statement.setString(1, big);
            ResultSet rows = statement.executeQuery();
            rows.next();
            expect(rows.getString(1).equals(big), true);
        }
        return "";
    }

    static String ownWrites() throws SQLException {
        execute(client, "CREATE TABLE own (n int)");
        try (PreparedStatement insert = client.prepareStatement("INSERT INTO own VALUES (?)");
            PreparedStatement count = client.prepareStatement("SELECT count(*) FROM own")) {
            for (int n = 1; n <= 100; n++) {
                insert.setInt(1, n);
                insert.executeUpdate();
                ResultSet rows = count.executeQuery();
                rows.next();
                expect(rows.getInt(1), n);
            }
        }
        return "";
    }

    static String altered() throws SQLException {
        execute(client, "CREATE TABLE changing AS SELECT 1 AS n");
        List<String> seen = new ArrayList<>();
        try (PreparedStatement statement = client.prepareStatement("SELECT * FROM changing")) {
            for (int n = 0; n < 10; n++) {
                expect(statement.executeQuery().getMetaData().getColumnCount(), 1);
            }
            try (Connection other = connect("demo")) {
                execute(other, "ALTER TABLE changing ADD COLUMN word text");
            }
            for (int n = 0; n < 3; n++) {
                try {
                    seen.add(statement.executeQuery().getMetaData().getColumnCount() + " columns");
                } catch (SQLException error) {
                    seen.add(error.getSQLState());
                }
            }
        }
        return String.join(", ", seen);
    }
}
